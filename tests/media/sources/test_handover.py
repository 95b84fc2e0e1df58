"""From the thread that reads to the one that plays."""

import av
import pytest

from media.encoders.encoder import Codec
from media.sources.handover import ENCODED, SOUNDS, Handover, HandoverStats
from media.sources.source import EncodedPicture, Picture, Sound, SourceError

FRAME = av.VideoFrame(16, 16, "yuv420p")
TONE = av.AudioFrame("s16", "stereo", 960)


def encoded(time_s: float, is_key: bool = False) -> EncodedPicture:
    return EncodedPicture(Codec.H264, b"", is_key, time_s)


def test_newest_raw_picture_wins() -> None:
    handover = Handover(HandoverStats())
    for number in range(3):
        handover.put(Picture(FRAME, number))
    item = handover.take(0)
    assert isinstance(item, Picture)
    assert item.time_s == 2
    assert handover.stats.pictures == 2
    assert handover.take(0) is None


def test_oldest_sound_goes() -> None:
    handover = Handover(HandoverStats())
    for number in range(SOUNDS + 3):
        handover.put(Sound(TONE, number))
    item = handover.take(0)
    assert item is not None
    assert item.time_s == handover.stats.sounds == 3


def test_too_many_encoded_pictures_go_up_to_the_next_key_frame() -> None:
    handover = Handover(HandoverStats())
    for number in range(ENCODED + 5):
        handover.put(encoded(number, number == 0))
    assert handover.take(0) is None
    handover.put(encoded(100, is_key=True))
    item = handover.take(0)
    assert item is not None
    assert item.time_s == 100
    assert handover.stats.pictures == ENCODED + 5


def test_what_comes_first_in_time_is_taken_first() -> None:
    handover = Handover(HandoverStats())
    handover.put(encoded(0.03, is_key=True))
    handover.put(Sound(TONE, 0.02))
    handover.put(Sound(TONE, 0.04))
    assert [item.time_s for item in (handover.take(0), handover.take(0), handover.take(0)) if item] == [
        0.02,
        0.03,
        0.04,
    ]


def test_its_end_comes_after_what_waits() -> None:
    handover = Handover(HandoverStats())
    handover.put(encoded(0, is_key=True))
    handover.end(SourceError("unplugged"))
    assert handover.take(0) is not None
    with pytest.raises(SourceError, match="unplugged"):
        handover.take(10)
    handover.end(None)
    with pytest.raises(EOFError):
        handover.take(10)
