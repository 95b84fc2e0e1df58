"""A bucket gives its burst at once and its rate over time, and says exactly when the next token comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.bucket import Bucket


def test_the_burst_comes_at_once_and_then_the_rate() -> None:
    bucket = Bucket(rate=5, burst=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(100.0) == pytest.approx(0.2)
    assert bucket.take(100.1) == pytest.approx(0.1)
    assert bucket.take(100.2) == 0.0
    assert bucket.take(100.2) > 0.0


def test_what_costs_more_takes_several() -> None:
    bucket = Bucket(rate=2, burst=8, now=0.0)
    assert bucket.take(0.0, 7) == 0.0
    assert bucket.take(0.0, 3) == pytest.approx(1.0)
    assert bucket.take(0.0) == 0.0


def test_a_refusal_costs_nothing() -> None:
    bucket = Bucket(rate=1, burst=1, now=0.0)
    bucket.take(0.0)
    for _ in range(100):
        assert bucket.take(0.5) == pytest.approx(0.5)
    assert bucket.take(1.0) == 0.0


def test_a_long_pause_fills_it_no_further_than_the_burst() -> None:
    bucket = Bucket(rate=1, burst=2, now=0.0)
    assert bucket.is_full(0.0)
    bucket.take(0.0)
    assert not bucket.is_full(0.5)
    assert bucket.is_full(1000.0)
    assert [bucket.take(1000.0) > 0 for _ in range(3)] == [False, False, True]


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    bucket = Bucket(rate=1, burst=1, now=10.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(5.0) == pytest.approx(1.0)
    assert bucket.take(11.0) == 0.0


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.5, 20), st.integers(1, 10))
def test_it_never_gives_more_than_burst_plus_rate(pauses: list[float], rate: float, burst: int) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0.0
    assert taken <= burst + rate * now + 1e-6


@given(st.floats(0.5, 50), st.floats(0.001, 5))
def test_the_answered_time_is_when_the_next_take_succeeds(rate: float, pause: float) -> None:
    bucket = Bucket(rate, 1.0, 0.0)
    while bucket.take(pause) == 0.0:
        pass
    wait = bucket.take(pause)
    assert wait > 0.0
    assert bucket.take(pause + wait + 1e-9) == 0.0
