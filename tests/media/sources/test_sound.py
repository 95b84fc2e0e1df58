"""Sound of any kind, and Opus as it is."""

from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.encoders.encoder import Capture, EncoderSettings
from media.encoders.opus import OpusEncoder
from media.sources.sound import SoundCutter, is_passable, opus_duration_s


def g711(samples: int = 160) -> av.AudioFrame:
    frame = av.AudioFrame("s16", "mono", samples)
    frame.sample_rate = 8000
    frame.planes[0].update(bytes(2 * samples))
    return frame


def times(cutter: SoundCutter, stamps: list[float | None]) -> list[float]:
    return [round(sound.time_s, 3) for stamp in stamps for sound in cutter.cut(g711(), stamp)]


def test_gaps_of_a_file_are_closed_and_those_of_a_camera_stay() -> None:
    stamps: list[float | None] = [number / 50 for number in range(10)] + [number / 50 for number in range(110, 130)]
    file, camera = times(SoundCutter(5.0), stamps), times(SoundCutter(follows=True), stamps)
    assert file == pytest.approx([5 + number / 50 for number in range(len(file))], abs=0.001)
    assert [time_s for time_s in camera if 0.2 < time_s < 2.2] == []
    assert max(camera) > 2.3


def test_jitter_of_a_camera_is_not_in_its_sound() -> None:
    got = times(SoundCutter(follows=True), [number / 50 + 0.01 * (number % 3) for number in range(20)])
    assert got == pytest.approx([number / 50 for number in range(len(got))], abs=0.001)


def test_jump_back_leaves_out_what_would_overlap() -> None:
    got = times(
        SoundCutter(follows=True), [0.5 + number / 50 for number in range(10)] + [0.4 + n / 50 for n in range(30)]
    )
    assert min(after - before for before, after in pairwise(got)) > 0.009
    assert 0.9 < got[-1] < 1.0


def test_sound_without_time_stamps_starts_at_zero() -> None:
    assert times(SoundCutter(), [None] * 4)[0] == 0


def test_our_own_opus_is_passable() -> None:
    (unit,) = OpusEncoder(EncoderSettings()).encode(Capture(av_tone(), 0, 0.0), False)
    assert is_passable(unit.data)


def av_tone() -> av.AudioFrame:
    frame = av.AudioFrame("s16", "stereo", 960)
    frame.sample_rate = 48_000
    return frame


DURATIONS = [
    (b"\x08", 0.02),
    (b"\x18", 0.06),
    (b"\x60", 0.01),
    (b"\x68", 0.02),
    (b"\xf8", 0.02),
    (b"\xe3\x08", 0.02),
    (b"\xf9", 0.04),
    (b"\xfb", 0),
    (b"", 0),
]


def test_duration_stands_in_the_first_byte() -> None:
    for head, duration_s in DURATIONS:
        assert opus_duration_s(head) == pytest.approx(duration_s)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=4))
def test_any_bytes_have_a_duration(packet: bytes) -> None:
    assert opus_duration_s(packet) >= 0
