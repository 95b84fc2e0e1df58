"""Pictures and sound in the order of time."""

from collections.abc import Iterator

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.encoders.encoder import Codec
from media.sources import interleave
from media.sources.source import EncodedPicture, EncodedSound, Item, Picture


def item(is_picture: bool, time_s: float) -> Item:
    return EncodedPicture(Codec.H264, b"", True, time_s) if is_picture else EncodedSound(Codec.OPUS, b"", time_s)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.2)), max_size=60))
def test_nothing_is_lost_and_each_kind_keeps_its_order(steps: list[tuple[bool, float]]) -> None:
    items, now = [], {True: 0.0, False: 0.0}
    for is_picture, step in steps:
        now[is_picture] += step
        items.append(item(is_picture, now[is_picture]))
    got = list(interleave.by_time(iter(items)))
    for kind in (EncodedPicture, EncodedSound):
        assert [each for each in got if isinstance(each, kind)] == [each for each in items if isinstance(each, kind)]


def test_stream_that_runs_ahead_is_held_within_bounds() -> None:
    ahead = [item(True, number / 25) for number in range(12)] + [item(False, number / 50) for number in range(24)]
    times = [each.time_s for each in interleave.by_time(iter(ahead))]
    assert times == sorted(times)
    frame = av.VideoFrame(16, 16, "yuv420p")
    endless = interleave.by_time(Picture(frame, float(number)) for number in range(10_000))
    assert next(endless).time_s == 0, "a file whose sound ends before its pictures plays on"


def test_items_are_taken_some_at_a_time_and_given_one_by_one() -> None:
    taken = []
    items = [item(True, number / 25) for number in range(interleave.AHEAD + 2)]

    def source() -> Iterator[Item]:
        for each in items:
            taken.append(each)
            yield each

    given = interleave.ahead(source())
    assert next(given) is items[0]
    assert taken == items[: interleave.AHEAD]
    assert list(given) == items[1:]


def test_what_was_read_before_an_error_is_given_before_it() -> None:
    def source() -> Iterator[Item]:
        yield item(True, 0.0)
        raise ValueError("damaged")

    given = interleave.ahead(source())
    assert next(given).time_s == 0.0
    with pytest.raises(ValueError, match="damaged"):
        next(given)
