"""Channels keep their owners when other slots come and go, and spread evenly over them."""

from collections import Counter
from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from channels.owners import Slot, owner

CHANNELS = [
    f"arn:aws:kinesisvideo:us-west-2:000000000000:channel/camera-{n}/{1_700_000_000_000 + n}" for n in range(4_000)
]
numbers = st.sets(st.integers(0, 9_999), min_size=1, max_size=12)
channels = st.text(max_size=40)


def slots(*found: int, draining: Collection[int] = ()) -> list[Slot]:
    return [Slot(number, f"node-{number}", is_draining=number in draining) for number in found]


def order(channel: str, known: Collection[int]) -> list[int]:
    """The numbers as the channel comes to them when one owner after the other drains."""
    found: list[int] = []
    while (first := owner(channel, slots(*known, draining=found))) is not None:
        found.append(first.number)
    return found


@given(channels, numbers)
def test_each_slot_has_its_turn_however_they_are_given(channel: str, known: set[int]) -> None:
    found = order(channel, known)
    assert sorted(found) == sorted(known)
    assert order(channel, sorted(known, reverse=True)) == found


@given(channels, numbers, st.integers(0, 9_999))
def test_a_slot_that_comes_or_goes_leaves_the_others_in_their_order(channel: str, known: set[int], more: int) -> None:
    with_it = order(channel, known | {more})
    assert [number for number in with_it if number != more] == order(channel, known - {more})


def test_nobody_owns_a_channel_where_there_is_no_slot() -> None:
    assert owner("camera", []) is None


def test_channels_spread_evenly_and_one_more_slot_takes_its_share_of_each() -> None:
    *seven, eighth = slots(*range(8))
    before = {channel: owner(channel, seven) for channel in CHANNELS}
    after = {channel: owner(channel, (*seven, eighth)) for channel in CHANNELS}
    counts = Counter(before.values())
    share = len(CHANNELS) / 7
    assert all(0.85 * share < counts[slot] < 1.15 * share for slot in seven), counts
    moved = [channel for channel in CHANNELS if after[channel] != before[channel]]
    assert 0.85 / 8 < len(moved) / len(CHANNELS) < 1.15 / 8
    assert {after[channel] for channel in moved} == {eighth}


def test_owners_are_those_of_earlier_versions() -> None:
    """Processes of two versions have to agree during a rolling restart."""
    assert [order(channel, range(4)) for channel in ("camera-1", "camera-2")] == [[0, 1, 3, 2], [0, 2, 3, 1]]
