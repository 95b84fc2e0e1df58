"""The sound of the test pattern: one second of a gentle 440 Hz tone with a beep at its start. No I/O."""

import array
import functools
import math

SAMPLES = 48_000
TONE_HZ = 440
BEEP_HZ = 880
BEEP_SAMPLES = 4_800
RAMP_SAMPLES = 240
TONE_PEAK = 1_000
BEEP_PEAK = 4_000


@functools.cache
def one_second() -> bytes:
    """48,000 samples of interleaved stereo s16 that repeat without a click."""
    mono = array.array("h", (round(TONE_PEAK * math.sin(math.tau * TONE_HZ * n / SAMPLES)) for n in range(SAMPLES)))
    for n in range(BEEP_SAMPLES):
        ramp = min(1.0, n / RAMP_SAMPLES, (BEEP_SAMPLES - n) / RAMP_SAMPLES)
        mono[n] += round(ramp * BEEP_PEAK * math.sin(math.tau * BEEP_HZ * n / SAMPLES))
    stereo = array.array("h", bytes(4 * SAMPLES))
    stereo[0::2] = mono
    stereo[1::2] = mono
    return stereo.tobytes()
