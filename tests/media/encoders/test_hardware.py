"""The encoder on a device, with libx264 in the place of the device: same code, same FFmpeg interface."""

import av
import msgspec
import pytest

from media import h264
from media.encoders.backends import BY_NAME, Backend, LiveBitrate, Route
from media.encoders.encoder import AccessUnit, Codec, EncoderError, EncoderSettings, Shape
from media.encoders.failure import FailureClass, OpenError, OrderError
from media.encoders.hardware import HardwareEncoder
from media.sources.pattern import PatternSource
from tests.media.pictures import captures, decoder

SHAPE = Shape(320, 180, 30.0)
SETTINGS = EncoderSettings(bitrate_bps=300_000)
DEVICE = Backend(
    "device", "H264", "libx264", "Device", Route.HARDWARE, "nv12",
    (("preset", "ultrafast"), ("tune", "zerolatency"), ("maxrate", "{ceiling}"), ("bufsize", "{buffer}")),
    ("forced-idr", "1"), LiveBitrate.IN_PLACE,
)  # fmt: skip


def encode(backend: Backend, count: int, keys: tuple[int, ...] = (), rate_at: int | None = None) -> list[AccessUnit]:
    encoder = HardwareEncoder(backend, SHAPE, SETTINGS)
    units = []
    for number, capture in enumerate(captures(PatternSource(320, 180, 30), count)):
        if number == rate_at:
            encoder.set_bitrate(100_000)
        units += encoder.encode(capture, number in keys)
        assert capture.frame.pict_type == 0, "the shared frame is left as it was"
    encoder.close()
    return units


def test_units_are_in_order_decodable_and_keys_where_asked_for() -> None:
    for pixel_format in ("nv12", "yuv420p"):
        units = encode(msgspec.structs.replace(DEVICE, pixel_format=pixel_format), 6, (2, 4))
        assert [number for number, unit in enumerate(units) if unit.is_key] == [0, 2, 4]
        assert [unit.timestamp for unit in units] == [3000 * number for number in range(6)]
        context = decoder(Codec.H264)
        assert all(len(context.decode(av.Packet(unit.data))) == 1 for unit in units)


def test_parameter_sets_stand_before_each_key_frame() -> None:
    for unit in encode(DEVICE, 6, (3,)):
        kinds = [kind for kind in map(h264.kind, h264.nal_units(unit.data)) if kind != 6]
        assert kinds[:3] == [7, 8, 5] if unit.is_key else kinds[0] == 1


def test_device_that_ignores_forced_key_frames_is_opened_anew() -> None:
    assert [unit.is_key for unit in encode(msgspec.structs.replace(DEVICE, forces_key=False), 6, (3,))] == [
        True, False, False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("bitrate", "keys"), [(LiveBitrate.IN_PLACE, 1), (LiveBitrate.REOPEN, 2)])
def test_rate_changes_in_place_or_by_opening_anew(bitrate: LiveBitrate, keys: int) -> None:
    units = encode(msgspec.structs.replace(DEVICE, bitrate=bitrate), 120, rate_at=40)
    assert sum(unit.is_key for unit in units) == keys
    assert sum(len(unit.data) for unit in units[90:]) * 8 == pytest.approx(100_000, rel=0.4)


def test_pictures_in_a_wrong_order_are_an_error() -> None:
    reordering = msgspec.structs.replace(DEVICE, options=(("preset", "veryfast"), ("bf", "2"), ("rc-lookahead", "2")))
    with pytest.raises(OrderError, match="gave the picture of"):
        encode(reordering, 60)


def test_device_that_is_not_there_says_why() -> None:
    kinds = []
    for name in ("nvenc", "videotoolbox"):
        with pytest.raises(OpenError) as caught:
            HardwareEncoder(BY_NAME[name], SHAPE, SETTINGS)
        kinds.append(caught.value.failure.kind)
    assert kinds == [FailureClass.DRIVER_MISSING, FailureClass.NOT_IN_BUILD]


def test_what_is_no_video_encoder_is_refused() -> None:
    with pytest.raises(EncoderError, match="not a video encoder"):
        HardwareEncoder(msgspec.structs.replace(DEVICE, encoder="libopus"), SHAPE, SETTINGS)


def test_closed_encoder_says_so() -> None:
    encoder = HardwareEncoder(DEVICE, SHAPE, SETTINGS)
    encoder.close()
    encoder.close()
    encoder.set_bitrate(100_000)
    with pytest.raises(EncoderError, match="closed"):
        encoder.encode(next(iter(captures(PatternSource(320, 180, 30), 1))), False)
