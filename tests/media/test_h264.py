"""H.264 as bytes: what is written is read, any bytes are read or refused, and x264 agrees."""

import contextlib
import itertools

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import h264
from media.encoders.encoder import EncoderSettings, Shape
from media.encoders.software import X264Encoder
from media.h264 import START_CODE, H264Error, ParameterSets
from media.sources.pattern import PatternSource
from tests.media.pictures import captures

NUMBERS = st.integers(0, 2**16)


class Writer:
    """Writes the bits of a parameter set."""

    def __init__(self) -> None:
        self.bits = ""

    def u(self, count: int, value: int) -> None:
        self.bits += f"{value:0{count}b}"

    def ue(self, value: int) -> None:
        code = f"{value + 1:b}"
        self.bits += "0" * (len(code) - 1) + code

    def unit(self, head: bytes) -> bytes:
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
        return head + _emulated(payload)


def _emulated(payload: bytes) -> bytes:
    out = bytearray()
    for byte in payload:
        if out[-2:] == b"\0\0" and byte <= 3:
            out.append(3)
        out.append(byte)
    return bytes(out)


@st.composite
def parameters(draw: st.DrawFn) -> tuple[bytes, h264.SequenceParameters]:
    """An SPS, and what it says."""
    profile = draw(st.sampled_from([66, 77, 88, 100, 244]))
    constraints, level = draw(st.integers(0, 255)), draw(st.integers(0, 255))
    width_mbs, height_units = draw(st.integers(1, 512)), draw(st.integers(1, 512))
    is_progressive, crop = draw(st.booleans()), draw(st.tuples(*[st.integers(0, 3)] * 4))
    usual = st.tuples(st.just(1000), st.integers(2_000, 240_000))
    fps = draw(st.none() | st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)) | usual)
    w = Writer()
    w.ue(draw(st.integers(0, 31)))
    if profile in (100, 244):
        w.ue(1)
        w.ue(draw(st.integers(0, 6)))
        w.ue(0)
        w.u(1, 0)
        w.u(1, has_lists := draw(st.integers(0, 1)))
        for _ in range(8 * has_lists):
            w.u(1, is_there := draw(st.integers(0, 1)))
            if is_there:
                w.ue(16)  # next scale 8 - 8 = 0: the rest of the list repeats the last
    w.ue(draw(NUMBERS))
    w.ue(2)
    w.ue(draw(NUMBERS))
    w.u(1, 0)
    w.ue(width_mbs - 1)
    w.ue(height_units - 1)
    w.u(1, is_progressive)
    if not is_progressive:
        w.u(1, 0)
    w.u(1, 1)
    w.u(1, 1)
    for value in crop:
        w.ue(value)
    w.u(1, fps is not None)
    if fps is not None:
        w.u(4, 0)
        w.u(1, 1)
        w.u(32, fps[0])
        w.u(32, fps[1])
    fields = 1 if is_progressive else 2
    width = 16 * width_mbs - 2 * (crop[0] + crop[1])
    height = fields * (16 * height_units - 2 * (crop[2] + crop[3]))
    rate = fps[1] / (2 * fps[0]) if fps and fps[0] else None
    rate = rate if rate and 1 <= rate <= 120 else None
    told = h264.SequenceParameters(profile, constraints, level, width, height, is_progressive, rate)
    return w.unit(bytes((0x67, profile, constraints, level))), told


@settings(max_examples=40, deadline=None)
@given(parameters())
def test_what_an_sps_says_is_read(case: tuple[bytes, h264.SequenceParameters]) -> None:
    unit, told = case
    if min(told.width, told.height) <= 0:
        with pytest.raises(H264Error):
            h264.read_sps(unit)
    else:
        assert h264.read_sps(unit) == told


@settings(max_examples=40, deadline=None)
@given(parameters(), st.binary(max_size=60), st.integers(0, 80))
def test_any_bytes_are_read_or_refused(case: tuple[bytes, object], noise: bytes, cut: int) -> None:
    for unit in (b"\x67" + noise, case[0][:cut] + noise, b"\x68" + noise, noise, b"\1" + noise):
        sets = ParameterSets(unit)
        sets.complete(START_CODE + unit)
        assert sets.is_baseline in (True, False)
        for read in (h264.read_sps, h264.has_slice_groups, h264.parameter_sets):
            with contextlib.suppress(H264Error):
                read(unit)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda data: data.replace(b"\0", b"\7")), max_size=6))
def test_nal_units_are_split_where_they_were_joined(units: list[bytes]) -> None:
    assert h264.nal_units(b"".join(itertools.chain(*((START_CODE, unit) for unit in units)))) == units


@pytest.fixture(scope="module")
def units() -> list[bytes]:
    """An IDR with its parameter sets, and two pictures more."""
    encoder = X264Encoder(Shape(642, 362, 24.0), EncoderSettings(preset="ultrafast"))
    source = PatternSource(642, 362, 24.0)
    return [unit.data for capture in captures(source, 3) for unit in encoder.encode(capture, False)]


def test_x264_is_understood(units: list[bytes]) -> None:
    sets = ParameterSets()
    assert sets.complete(units[0]) == units[0]
    assert sets.sps is not None
    assert (sets.sps.width, sets.sps.height, sets.sps.fps) == (642, 362, 24.0)
    assert sets.is_baseline
    assert [h264.is_key(unit) for unit in units] == [True, False, False]


def bare(data: bytes) -> bytes:
    return b"".join(START_CODE + unit for unit in h264.nal_units(data) if h264.kind(unit) not in (7, 8))


def test_parameter_sets_come_before_each_idr(units: list[bytes]) -> None:
    sets = ParameterSets()
    assert sets.complete(bare(units[0])) is None, "nobody could decode it"
    sets.complete(units[0])
    complete = sets.complete(bare(units[0]))
    assert complete is not None
    assert [h264.kind(unit) for unit in h264.nal_units(complete)][:2] == [7, 8]
    assert sets.complete(units[1]) == units[1]
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    assert len([*context.decode(av.Packet(complete)), *context.decode()]) == 1


def test_new_sps_replaces_the_one_of_its_id(units: list[bytes]) -> None:
    encoder = X264Encoder(Shape(320, 180, 30.0), EncoderSettings(preset="ultrafast"))
    (other,) = encoder.encode(next(captures(PatternSource(320, 180, 30.0), 1)), False)
    sets = ParameterSets(units[0])
    sets.complete(other.data)
    assert sets.sps is not None
    assert sets.sps.width == 320
    complete = sets.complete(bare(other.data))
    assert complete is not None
    assert [h264.kind(unit) for unit in h264.nal_units(complete)].count(7) == 1


PROFILES = [(66, 0, True), (77, 0x80, True), (77, 0x40, False), (100, 0xFF, False)]


def test_baseline_is_what_every_viewer_decodes() -> None:
    for profile, constraints, is_baseline in PROFILES:
        assert h264.SequenceParameters(profile, constraints, 31, 640, 360, True, None).is_baseline is is_baseline
        assert not h264.SequenceParameters(profile, constraints, 31, 640, 360, False, None).is_baseline


def test_slice_groups_are_not_constrained_baseline() -> None:
    w = Writer()
    for value in (0, 0):
        w.ue(value)
    w.u(2, 0)
    w.ue(1)
    assert h264.has_slice_groups(w.unit(b"\x68"))


def test_lengths_become_start_codes() -> None:
    units = (b"\x67\x42\xc0\x1f", b"\x68\xce\x3c\x80", b"\x65\x88\x84\x21")
    stream = b"".join(START_CODE + unit for unit in units)
    assert h264.with_start_codes(b"".join(len(unit).to_bytes(4) + unit for unit in units)) == stream
    assert h264.with_start_codes(stream) == stream
    assert h264.with_start_codes(b"\0") == b""
