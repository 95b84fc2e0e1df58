"""x264 and libvpx: key frames on request, no delay, the profile that SDP promises, the rate that was asked for."""

import av
import pytest

from media.encoders.encoder import Codec, EncoderError, EncoderSettings, Shape
from media.encoders.software import SoftwareEncoder, VpxEncoder, X264Encoder
from media.sources.pattern import PatternSource
from tests.media.pictures import captures, decoder

SHAPE = Shape(320, 180, 30.0)
SETTINGS = EncoderSettings(bitrate_bps=300_000)
CLASSES: dict[Codec, type[SoftwareEncoder]] = {Codec.H264: X264Encoder, Codec.VP8: VpxEncoder}


@pytest.fixture(scope="module")
def source() -> PatternSource:
    return PatternSource(320, 180, 30)


@pytest.fixture(params=[Codec.H264, Codec.VP8], ids=lambda codec: codec.value)
def codec(request: pytest.FixtureRequest) -> Codec:
    assert isinstance(request.param, Codec)
    return request.param


def nal_types(data: bytes) -> list[int]:
    return [data[at + 3] & 0x1F for at in range(len(data) - 3) if data[at : at + 3] == b"\0\0\1"]


def test_one_unit_per_picture_at_its_time_and_all_decode(codec: Codec, source: PatternSource) -> None:
    encoder, context = CLASSES[codec](SHAPE, SETTINGS), decoder(codec)
    for capture in captures(source, 20):
        (unit,) = encoder.encode(capture, False)
        assert (unit.timestamp, unit.captured_at) == (capture.timestamp, capture.captured_at)
        (picture,) = context.decode(av.Packet(unit.data))
        assert (picture.width, picture.height) == (320, 180)
    encoder.close()


def test_first_picture_and_each_asked_for_is_a_key_frame_and_no_other(codec: Codec, source: PatternSource) -> None:
    encoder = CLASSES[codec](SHAPE, SETTINGS)
    keys = []
    for number, capture in enumerate(captures(source, 20)):
        (unit,) = encoder.encode(capture, number in (7, 8, 15))
        if unit.is_key:
            keys.append(number)
            decoder(codec).decode(av.Packet(unit.data))  # a decoder can begin here
    assert keys == [0, 7, 8, 15]
    encoder.close()


def test_shared_frame_is_left_as_it_was(codec: Codec, source: PatternSource) -> None:
    encoder = CLASSES[codec](SHAPE, SETTINGS)
    for capture in captures(source, 2):
        encoder.encode(capture, True)
        assert capture.frame.pict_type == 0
    encoder.close()


@pytest.mark.parametrize(
    ("size", "fps", "level"), [((320, 180), 30.0, 31), ((1280, 720), 30.0, 31), ((1280, 720), 60.0, 32)]
)
def test_h264_is_constrained_baseline_with_parameter_sets_before_each_key_frame(
    size: tuple[int, int], fps: float, level: int
) -> None:
    encoder = X264Encoder(Shape(*size, fps), EncoderSettings())
    for number, capture in enumerate(captures(PatternSource(*size), 3)):
        (unit,) = encoder.encode(capture, number == 2)
        types = [kind for kind in nal_types(unit.data) if kind != 6]
        assert types == ([7, 8, 5] if number in (0, 2) else [1])
        if unit.is_key:
            profile, constraints, level_idc = unit.data[unit.data.index(b"\0\0\1\x67") + 4 :][:3]
            assert profile == 0x42
            assert constraints & 0xC0 == 0xC0, "constraint_set0 and 1: Constrained Baseline, decodable as 42e01f"
            assert level_idc == level
    encoder.close()


def test_rate_is_kept(codec: Codec, source: PatternSource) -> None:
    encoder = CLASSES[codec](SHAPE, SETTINGS)
    sizes = [len(unit.data) for capture in captures(source, 120) for unit in encoder.encode(capture, False)]
    assert sum(sizes[60:]) * 8 / 2 == pytest.approx(300_000, rel=0.25)
    encoder.close()


def test_x264_changes_its_rate_in_place_without_a_key_frame(source: PatternSource) -> None:
    encoder = X264Encoder(SHAPE, SETTINGS)
    units = []
    for number, capture in enumerate(captures(source, 180)):
        if number == 60:
            encoder.set_bitrate(100_000)
        units += encoder.encode(capture, False)
    assert [unit.is_key for unit in units].count(True) == 1
    assert sum(len(unit.data) for unit in units[120:]) * 8 / 2 == pytest.approx(100_000, rel=0.35)
    encoder.close()


def test_x264_never_exceeds_the_most_it_was_opened_for(source: PatternSource) -> None:
    encoder = X264Encoder(SHAPE, SETTINGS)
    encoder.set_bitrate(3_000_000)
    sizes = [len(unit.data) for capture in captures(source, 90) for unit in encoder.encode(capture, False)]
    assert sum(sizes[30:]) * 8 / 2 < 400_000
    encoder.close()


def test_vp8_changes_its_rate_with_a_key_frame(source: PatternSource) -> None:
    encoder = VpxEncoder(SHAPE, SETTINGS)
    units = []
    for number, capture in enumerate(captures(source, 120)):
        if number == 30:
            encoder.set_bitrate(120_000)
            encoder.set_bitrate(120_000)
        units += encoder.encode(capture, False)
    assert [number for number, unit in enumerate(units) if unit.is_key] == [0, 30]
    assert sum(len(unit.data) for unit in units[60:]) * 8 / 2 == pytest.approx(120_000, rel=0.35)
    encoder.close()


def test_closed_encoder_says_so(codec: Codec, source: PatternSource) -> None:
    encoder = CLASSES[codec](SHAPE, SETTINGS)
    encoder.close()
    encoder.close()
    encoder.set_bitrate(100_000)
    with pytest.raises(EncoderError, match="closed"):
        encoder.encode(next(iter(captures(source, 1))), False)
