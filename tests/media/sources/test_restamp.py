"""Time stamps of a live source on our clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.sources.restamp import Restamp

DELAYS = st.lists(st.floats(0, 0.3), min_size=2, max_size=80)


@settings(max_examples=40, deadline=None)
@given(DELAYS, st.floats(-1e6, 1e6))
def test_jitter_of_arrival_is_not_in_the_times(delays: list[float], origin: float) -> None:
    restamp = Restamp()
    now = 0.0
    times = []
    for number, delay in enumerate(delays):
        now = max(now, number / 30 + delay)
        times.append(restamp.stamp("video", origin + number / 30, now))
        assert times[-1] <= now
    assert times == sorted(times)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e9, 1e9) | st.none(), st.floats(0, 5)), max_size=50))
def test_whatever_comes_times_neither_fall_nor_lie_in_the_future(arrivals: list[tuple[float | None, float]]) -> None:
    restamp = Restamp()
    now, last = 0.0, 0.0
    for stamp_s, step in arrivals:
        now += step
        time_s = restamp.stamp("video", stamp_s, now)
        assert last <= time_s <= now
        last = time_s


def test_times_follow_the_source_after_the_smallest_delay() -> None:
    restamp = Restamp()
    restamp.stamp("video", 100.0, 1.2)
    restamp.stamp("video", 100.1, 1.1 + 0.1)
    assert abs(restamp.stamp("video", 100.2, 1.4) - 1.3) < 0.003


def test_jump_of_the_source_is_none_of_ours() -> None:
    restamp = Restamp()
    restamp.stamp("video", 5.0, 1.0)
    assert restamp.stamp("video", 90_000.0, 1.04) == pytest.approx(1.04)
    assert restamp.stamp("video", 90_000.04, 1.08) > 1.07
    assert restamp.jumps == 1


def test_clock_that_is_too_slow_is_followed() -> None:
    for rate, lag_s in ((0.9995, 0.02), (0.9, 0.15)):
        restamp = Restamp()
        lags = [number / 30 - restamp.stamp("video", number / 30 * rate, number / 30) for number in range(5_000)]
        assert max(lags) < lag_s
        assert restamp.jumps == 0


def test_picture_and_sound_share_the_offset() -> None:
    restamp = Restamp()
    restamp.stamp("video", 10.0, 1.0)
    assert abs(restamp.stamp("audio", 10.0, 1.1) - 1.0) < 0.003
