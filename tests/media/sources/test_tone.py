"""The sound of the test pattern."""

from __future__ import annotations

import array

from media.sources import tone


def left() -> array.array[int]:
    samples = array.array("h", tone.one_second())
    assert samples[0::2] == samples[1::2]
    return samples[0::2]


def test_one_second_of_stereo() -> None:
    assert len(tone.one_second()) == 48_000 * 2 * 2


def test_beep_is_louder_than_the_tone_and_both_are_gentle() -> None:
    samples = left()
    beep, rest = max(map(abs, samples[:4_800])), max(map(abs, samples[4_800:]))
    assert rest * 2 < beep < 32_767 // 4


def test_it_repeats_without_a_click() -> None:
    samples = left()
    steps = [abs(b - a) for a, b in zip([*samples[-100:], *samples], [*samples[-99:], *samples], strict=False)]
    assert max(steps) < 700
