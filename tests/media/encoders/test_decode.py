"""The decoder's thread: where it starts, what it gives, what damage costs."""

import threading
from collections.abc import Sequence

import pytest

from media.encoders.decode import BACKLOG_BYTES, BACKLOG_UNITS, BOUND, Backlog, DecoderStats, DecodeWorker
from media.encoders.encoder import AccessUnit, Codec, EncoderSettings, Shape, VideoCapture, VideoEncoder
from media.encoders.software import VpxEncoder, X264Encoder
from media.sources.pattern import PatternSource
from tests.media.pictures import captures

SHAPE = Shape(160, 90, 30)
SETTINGS = EncoderSettings(bitrate_bps=100_000, preset="ultrafast")


def units(codec: Codec, count: int, key_at: tuple[int, ...] = ()) -> list[AccessUnit]:
    encoder: VideoEncoder = {Codec.H264: X264Encoder, Codec.VP8: VpxEncoder}[codec](SHAPE, SETTINGS)
    return [
        unit
        for number, capture in enumerate(captures(PatternSource(160, 90), count))
        for unit in encoder.encode(capture, number in key_at)
    ]


class Decoded:
    """What a worker gave, after it was fed one unit at a time."""

    def __init__(self, codec: Codec, shape: Shape = SHAPE, backlog: Sequence[AccessUnit] = ()) -> None:
        self.captures: list[VideoCapture] = []
        self.stats = DecoderStats()
        self.worker = DecodeWorker(codec, shape, self.captures.append, self.stats, backlog)

    def run(self, units: list[AccessUnit]) -> list[VideoCapture]:
        stop = threading.Event()
        thread = threading.Thread(target=self.worker.run, args=(stop,))
        thread.start()
        before = threading.Event()
        for unit in units:
            known = self.stats.units + self.stats.dropped_units
            self.worker.offer(unit)
            while self.stats.units + self.stats.dropped_units == known:
                before.wait(0.001)
        stop.set()
        self.worker.close()
        thread.join(15)
        return self.captures


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
def test_each_unit_is_one_picture_with_the_same_time(codec: Codec) -> None:
    source = units(codec, 4)
    decoded = Decoded(codec).run(source)
    assert [capture.timestamp for capture in decoded] == [unit.timestamp for unit in source]
    assert [capture.captured_at for capture in decoded] == [unit.captured_at for unit in source]
    assert {(capture.frame.width, capture.frame.height, capture.frame.format.name) for capture in decoded} == {
        (160, 90, "yuv420p")
    }


def test_it_starts_at_a_key_frame() -> None:
    source = units(Codec.H264, 5, key_at=(3,))
    decoded = Decoded(Codec.H264)
    assert [capture.timestamp for capture in decoded.run(source[1:])] == [source[3].timestamp, source[4].timestamp]
    assert decoded.stats.dropped_units == 2


def test_pictures_have_the_size_of_the_source() -> None:
    (capture,) = Decoded(Codec.H264, Shape(64, 48, 30)).run(units(Codec.H264, 1))
    assert (capture.frame.width, capture.frame.height) == (64, 48)


def test_damage_costs_its_pictures_and_no_more() -> None:
    source = units(Codec.H264, 4, key_at=(2,))
    source[1] = AccessUnit(b"\x00\x00\x01\x65garbage", source[1].timestamp, False, 0.0)
    decoded = Decoded(Codec.H264)
    stamps = [capture.timestamp for capture in decoded.run(source)]
    assert [stamp for stamp in stamps if stamp != source[1].timestamp] == [
        source[number].timestamp for number in (0, 2, 3)
    ]
    assert decoded.stats.failures == 1


def test_what_it_cannot_take_is_given_up_to_the_next_key_frame() -> None:
    decoded = Decoded(Codec.H264)
    for number in range(BOUND + 2):
        decoded.worker.offer(AccessUnit(b"", number, number == 0, 0.0))
    assert decoded.stats.dropped_units == BOUND + 2


def test_what_came_since_the_key_frame_is_decoded_but_not_given() -> None:
    source = units(Codec.H264, 5)
    decoded = Decoded(Codec.H264, backlog=source[:3])
    assert [capture.timestamp for capture in decoded.run(source[3:])][-2:] == [source[3].timestamp, source[4].timestamp]
    assert decoded.stats.units == 5
    assert decoded.stats.pictures <= 3


def test_backlog_holds_one_group_of_pictures_and_none_that_is_too_long() -> None:
    backlog = Backlog()
    for number in range(6):
        backlog.keep(AccessUnit(b"1", number, number in (1, 4), 0.0))
    assert [unit.timestamp for unit in backlog.units()] == [4, 5]
    for number in range(6, 6 + BACKLOG_UNITS):
        backlog.keep(AccessUnit(b"1", number, False, 0.0))
    assert backlog.units() == ()
    backlog.keep(AccessUnit(bytes(BACKLOG_BYTES), 0, True, 0.0))
    backlog.keep(AccessUnit(b"1", 1, False, 0.0))
    assert backlog.units() == ()
