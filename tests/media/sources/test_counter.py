"""The counter: what is drawn is read back, also after an encoder has had the picture; nothing else is read."""

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.encoders.encoder import Capture, Codec, EncoderSettings, Shape
from media.encoders.software import VpxEncoder, X264Encoder
from media.sources import counter
from media.sources.counter import Counter
from media.sources.pattern import PatternSource
from tests.media.pictures import captures, decoder

WORDS = st.integers(0, 2**32 - 1)
COUNTERS = st.builds(Counter, WORDS, WORDS)
SIZES = st.sampled_from([(160, 90), (320, 180), (642, 360), (1280, 720), (200, 400)])


def blank(size: tuple[int, int], line_size: int, luma: int = 90) -> bytearray:
    return bytearray([luma]) * (line_size * size[1])


@given(COUNTERS, SIZES, st.integers(0, 64))
@settings(deadline=None)
def test_what_is_drawn_is_read(wanted: Counter, size: tuple[int, int], padding: int) -> None:
    line_size = size[0] + padding
    luma = blank(size, line_size)
    counter.draw(luma, line_size, size[0], wanted)
    assert counter.read(luma, line_size, *size) == wanted


@given(st.integers(2**32, 2**40))
def test_words_wrap_at_32_bits(number: int) -> None:
    luma = blank((160, 90), 160)
    counter.draw(luma, 160, 160, Counter(number, number))
    assert counter.read(luma, 160, 160, 90) == Counter(number % 2**32, number % 2**32)


@given(COUNTERS, st.integers(0, 127))
@settings(deadline=None)
def test_one_wrong_cell_makes_the_whole_unreadable(wanted: Counter, cell: int) -> None:
    luma = blank((160, 90), 160)
    counter.draw(luma, 160, 160, wanted)
    row, column = divmod(cell, 32)
    for y in range(4 + 4 * row, 8 + 4 * row):
        for x in range(16 + 4 * column, 20 + 4 * column):
            luma[y * 160 + x] = 251 - luma[y * 160 + x]
    assert counter.read(luma, 160, 160, 90) is None


@given(st.binary(max_size=200 * 100), st.integers(0, 200), st.integers(0, 100))
def test_any_bytes_are_read_without_an_error(luma: bytes, width: int, height: int) -> None:
    assert counter.read(luma, width, width, height) is None


@pytest.mark.parametrize("luma", [0, 16, 90, 235, 255])
def test_flat_picture_holds_no_counter(luma: int) -> None:
    assert counter.read(blank((320, 180), 320, luma), 320, 320, 180) is None


def test_layout_is_as_written() -> None:
    """Other programs read the counter too, so its place in the picture is a contract."""
    luma = blank((1280, 720), 1280)
    counter.draw(luma, 1280, 1280, Counter(0x80000001, 0))
    at = {name: luma[y * 1280 + x] for name, (x, y) in {"first": (128, 32), "last": (1151, 63)}.items()}
    assert at == {"first": 235, "last": 235}
    assert luma[32 * 1280 + 127] == luma[32 * 1280 + 1152] == luma[31 * 1280 + 128] == luma[160 * 1280 + 128] == 90
    assert luma[40 * 1280 + 170] == 16
    assert luma[130 * 1280 + 140] == 16, "row 3 is row 0 inverted"


@pytest.mark.slow
@given(st.lists(COUNTERS, min_size=4, max_size=8))
@settings(deadline=None, max_examples=12)
def test_counter_survives_320x180_at_150_kbit(wanted: list[Counter]) -> None:
    source = PatternSource(320, 180, 30)
    encoder = X264Encoder(Shape(320, 180, 30.0), EncoderSettings(bitrate_bps=150_000))
    context = decoder(Codec.H264)
    got = []
    for capture, value in zip(captures(source, len(wanted)), wanted, strict=True):
        plane = capture.frame.planes[0]
        counter.draw(memoryview(plane), plane.line_size, 320, value)
        got += [_read(picture) for picture in _roundtrip(encoder, context, capture)]
    encoder.close()
    assert got == wanted


@pytest.mark.parametrize("kind", [X264Encoder, VpxEncoder])
@pytest.mark.parametrize(("size", "rate"), [((1280, 720), 2_000_000), ((320, 180), 150_000)])
def test_numbers_of_the_test_pattern_rise_by_one_after_the_encoder(
    kind: type[X264Encoder] | type[VpxEncoder], size: tuple[int, int], rate: int
) -> None:
    source = PatternSource(*size)
    encoder = kind(Shape(*size, 30.0), EncoderSettings(bitrate_bps=rate))
    context = decoder(Codec.H264 if kind is X264Encoder else Codec.VP8)
    got = [_read(picture) for capture in captures(source, 20) for picture in _roundtrip(encoder, context, capture)]
    encoder.close()
    assert [value.number if value else None for value in got] == list(range(20))


def _roundtrip(
    encoder: X264Encoder | VpxEncoder, context: av.VideoCodecContext, capture: Capture[av.VideoFrame]
) -> list[av.VideoFrame]:
    return [picture for unit in encoder.encode(capture, False) for picture in context.decode(av.Packet(unit.data))]


def _read(picture: av.VideoFrame) -> Counter | None:
    plane = picture.planes[0]
    return counter.read(memoryview(plane), plane.line_size, picture.width, picture.height)
