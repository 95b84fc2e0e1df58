"""Channels keep their owners when other slots come and go, and spread evenly over them."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from channels.owners import Slot, order, owner

CHANNELS = [
    f"arn:aws:kinesisvideo:us-west-2:000000000000:channel/camera-{n}/{1_700_000_000_000 + n}" for n in range(4_000)
]
numbers = st.sets(st.integers(0, 9_999), min_size=1, max_size=12)
channels = st.text(max_size=40)


def slots(*found: int, draining: tuple[int, ...] = ()) -> list[Slot]:
    return [Slot(number, f"node-{number}", is_draining=number in draining) for number in found]


@given(channels, numbers)
def test_the_order_has_each_number_once_however_they_are_given(channel: str, known: set[int]) -> None:
    found = order(channel, known)
    assert sorted(found) == sorted(known)
    assert order(channel, sorted(known, reverse=True)) == found


@given(channels, numbers, st.integers(0, 9_999))
def test_a_slot_that_comes_or_goes_leaves_the_others_in_their_order(channel: str, known: set[int], more: int) -> None:
    with_it = order(channel, known | {more})
    assert [number for number in with_it if number != more] == order(channel, known - {more})


@given(channels, numbers)
def test_the_owner_is_the_first_of_the_order_that_does_not_drain(channel: str, known: set[int]) -> None:
    first, *rest = order(channel, known)
    assert owner(channel, slots(*known)) == Slot(first, f"node-{first}")
    after = owner(channel, slots(*known, draining=(first,)))
    assert after == (Slot(rest[0], f"node-{rest[0]}") if rest else None)


def test_nobody_owns_a_channel_where_there_is_no_slot() -> None:
    assert owner("camera", []) is None


def test_channels_spread_evenly_and_one_more_slot_takes_its_share_of_each() -> None:
    before = {channel: order(channel, range(7))[0] for channel in CHANNELS}
    counts = Counter(before.values())
    share = len(CHANNELS) / 7
    assert all(0.85 * share < counts[number] < 1.15 * share for number in range(7)), counts
    moved = [channel for channel in CHANNELS if order(channel, range(8))[0] != before[channel]]
    assert 0.85 / 8 < len(moved) / len(CHANNELS) < 1.15 / 8
    assert {order(channel, range(8))[0] for channel in moved} == {7}


def test_owners_are_those_of_earlier_versions() -> None:
    """Processes of two versions have to agree during a rolling restart."""
    assert [order(channel, range(4)) for channel in ("camera-1", "camera-2")] == [[0, 1, 3, 2], [0, 2, 3, 1]]
