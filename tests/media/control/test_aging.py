"""The time for what grows old follows the wall clock, but no jump forward before it has lasted."""

import pytest

from media.control.aging import BELIEVED_S, JUMP_S, AgingTime

EPOCH_S = 1_764_131_051.0
DAY_S = 86_400.0


def test_it_follows_a_clock_that_is_adjusted_or_set_back() -> None:
    time = AgingTime()
    assert time.now_s(EPOCH_S, 100) == EPOCH_S
    for minute in range(1, 200):
        drifted_s = EPOCH_S + minute * (60 + JUMP_S)
        assert time.now_s(drifted_s, 100 + minute * 60) == pytest.approx(drifted_s)
    assert time.now_s(EPOCH_S - DAY_S, 1e6) == pytest.approx(EPOCH_S - DAY_S)


def test_a_jump_forward_that_is_taken_back_leaves_no_trace() -> None:
    time = AgingTime()
    time.now_s(EPOCH_S, 0)
    assert time.now_s(EPOCH_S + 30 * DAY_S, 1) == EPOCH_S + 1
    assert time.now_s(EPOCH_S + 30 * DAY_S + BELIEVED_S - 1, BELIEVED_S) == EPOCH_S + BELIEVED_S
    assert time.now_s(EPOCH_S + BELIEVED_S + 2, BELIEVED_S + 2) == EPOCH_S + BELIEVED_S + 2
    assert time.now_s(EPOCH_S + 30 * DAY_S, BELIEVED_S + 3) == EPOCH_S + BELIEVED_S + 3, "it waits from the beginning"


def test_a_jump_forward_that_lasts_is_the_time_and_another_one_waits_for_itself() -> None:
    time = AgingTime()
    time.now_s(EPOCH_S, 0)
    jumped_s = EPOCH_S + DAY_S
    time.now_s(jumped_s, 0)
    assert time.now_s(jumped_s + BELIEVED_S, BELIEVED_S) == jumped_s + BELIEVED_S
    further_s = jumped_s + DAY_S
    time.now_s(further_s, BELIEVED_S)
    time.now_s(further_s + DAY_S, 2 * BELIEVED_S - 1)
    assert time.now_s(further_s + DAY_S, 2 * BELIEVED_S) == jumped_s + 2 * BELIEVED_S


def test_a_start_long_after_the_newest_waits_too_and_a_newest_in_the_future_does_not_count() -> None:
    time = AgingTime()
    time.begin(EPOCH_S, 0)
    time.begin(EPOCH_S + DAY_S, 0)
    assert time.now_s(EPOCH_S + DAY_S, 1) == EPOCH_S + 1
    assert time.now_s(EPOCH_S + DAY_S + BELIEVED_S, 1 + BELIEVED_S) == EPOCH_S + DAY_S + BELIEVED_S
    other = AgingTime()
    other.begin(EPOCH_S + DAY_S, 0)
    assert other.now_s(EPOCH_S, 1) == EPOCH_S
