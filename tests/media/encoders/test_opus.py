"""The one Opus encoder."""

import av
import numpy as np
import pytest

from media.encoders.encoder import EncoderError, EncoderSettings
from media.encoders.opus import OpusEncoder, level
from media.sources.pattern import PatternSource
from tests.media.pictures import sounds


@pytest.fixture(scope="module")
def source() -> PatternSource:
    return PatternSource(160, 90, 10)


def test_each_20_ms_become_one_packet_at_its_time(source: PatternSource) -> None:
    encoder = OpusEncoder(EncoderSettings())
    units = [encoder.encode(capture, False) for capture in sounds(source, 25)]
    assert [len(packets) for packets in units] == [1] * 25
    assert [packets[0].timestamp for packets in units] == [960 * number for number in range(25)]
    assert all(packets[0].is_key for packets in units)
    encoder.close()


def test_packets_decode_to_the_tone(source: PatternSource) -> None:
    encoder = OpusEncoder(EncoderSettings())
    context = av.CodecContext.create("libopus", "r")
    pieces = []
    for capture in sounds(source, 50):
        for unit in encoder.encode(capture, False):
            pieces += [frame.to_ndarray().reshape(-1, 2)[:, 0] for frame in context.decode(av.Packet(unit.data))]
    encoder.close()
    wave = np.concatenate(pieces)[24_000:48_000].astype(float)
    loudest = np.argmax(np.abs(np.fft.rfft(wave))) * 48_000 / len(wave)
    assert loudest == pytest.approx(440, abs=4)


def test_rate_follows_the_setting(source: PatternSource) -> None:
    sizes = []
    for rate in (16_000, 96_000):
        encoder = OpusEncoder(EncoderSettings(audio_bitrate_bps=96_000))
        encoder.set_bitrate(rate)
        sizes.append(sum(len(unit.data) for capture in sounds(source, 50) for unit in encoder.encode(capture, False)))
        encoder.close()
    assert sizes[0] * 2 < sizes[1]


@pytest.mark.parametrize(("peak", "expected"), [(0, 127), (32767, 3), (3277, 23), (1, 93)])
def test_level_is_the_power_of_the_sound_against_the_loudest_there_can_be(peak: int, expected: int) -> None:
    wave = peak * np.sin(np.arange(960) * (2 * np.pi * 440 / 48_000))
    samples = np.rint(np.repeat(wave, 2)).astype(np.int16)
    assert level(memoryview(samples)) == pytest.approx(expected, abs=1)
    assert level(memoryview(np.full(1920, -32768, np.int16))) == 0


def test_packets_tell_their_level(source: PatternSource) -> None:
    encoder = OpusEncoder(EncoderSettings())
    levels = [encoder.encode(capture, False)[0].audio_level for capture in sounds(source, 25)]
    encoder.close()
    assert levels[10] == pytest.approx(33, abs=1), "1,000 of 32,768 at the peak"
    assert levels[2] is not None
    assert levels[2] < 25, "the beep"


def test_closed_encoder_says_so(source: PatternSource) -> None:
    encoder = OpusEncoder(EncoderSettings())
    encoder.close()
    encoder.close()
    encoder.set_bitrate(8_000)
    with pytest.raises(EncoderError, match="closed"):
        encoder.encode(next(iter(sounds(source, 1))), False)
