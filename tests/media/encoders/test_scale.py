"""Smaller pictures: made once for all encoders of a layer."""

import threading

from av.video.frame import PictureType

from media.encoders.encoder import AccessUnit, EncoderSettings, Shape, VideoCapture
from media.encoders.scale import LayerEncoder, Scaler
from media.encoders.software import X264Encoder
from media.sources.pattern import PatternSource
from tests.media.pictures import captures


def test_picture_is_scaled_once_for_both_encoders() -> None:
    scaler = Scaler(160, 90)
    first, second = captures(PatternSource(320, 180), 2)
    small = scaler.scale(first)
    assert (small.frame.width, small.frame.height, small.frame.format.name) == (160, 90, "yuv420p")
    assert (small.timestamp, small.captured_at) == (first.timestamp, first.captured_at)
    assert small.frame.pict_type == PictureType.NONE
    assert scaler.scale(first) is small
    assert scaler.scale(second) is not small
    assert scaler.scaled == 2


def test_threads_that_take_the_same_picture_wait_for_one_another() -> None:
    scaler = Scaler(160, 90)
    (capture,) = captures(PatternSource(320, 180), 1)
    got: list[VideoCapture] = []
    threads = [threading.Thread(target=lambda: got.append(scaler.scale(capture))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert len(got) == 4
    assert all(small is got[0] for small in got)
    assert scaler.scaled == 1


def test_units_bear_the_number_of_their_layer() -> None:
    inner = X264Encoder(Shape(160, 90, 30), EncoderSettings(bitrate_bps=100_000, preset="ultrafast"))
    encoder = LayerEncoder(inner, Scaler(160, 90), 1)
    units: list[AccessUnit] = []
    for number, capture in enumerate(captures(PatternSource(320, 180), 3)):
        units += encoder.encode(capture, number == 2)
        encoder.set_bitrate(50_000)
    assert [(unit.layer, unit.is_key) for unit in units] == [(1, True), (1, False), (1, True)]
    assert encoder.name == "libx264"
    encoder.close()
