"""Sound for tests of talk-back: a tone as Opus packets, and how much of a tone there is in sound."""

import math
from array import array
from fractions import Fraction

import av


def tone(hz: float, packets: int, loudness: int = 8000) -> list[bytes]:
    """Opus packets of 20 ms, mono."""
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = 48_000, "mono", "s16"
    context.time_base, context.bit_rate = Fraction(1, 48_000), 64_000
    found = []
    for number in range(packets):
        frame = av.AudioFrame("s16", "mono", 960)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, number * 960, Fraction(1, 48_000)
        start = number * 960
        wave = (round(loudness * math.sin(math.tau * hz * (start + n) / 48_000)) for n in range(960))
        frame.planes[0].update(array("h", wave).tobytes())
        found += [bytes(packet) for packet in context.encode(frame)]
    return found


def share_of(hz: float, sound: bytes, rate_hz: int = 48_000) -> float:
    """How much of the power of mono s16 sound is at this frequency: 0 to 1 (Goertzel)."""
    samples = array("h", sound)
    turn = 2 * math.cos(math.tau * hz / rate_hz)
    last = before = 0.0
    for sample in samples:
        last, before = sample + turn * last - before, last
    power = last * last + before * before - turn * last * before
    total = sum(sample * sample for sample in samples)
    return 2 * power / (total * len(samples)) if total else 0.0
