"""The rate of a layer: who has a say, how far, how often."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.control.rates import FLOOR, HOLD_S, RAISE, STEP_S, STEP_WITH_KEY_S, LayerRate

FULL = 2_000_000


@pytest.mark.parametrize(
    ("capacity", "others", "drags"),
    [
        (None, [], False),
        (1_500_000, [None], False),
        (1_390_000, [None], True),
        (1_200_000, [], False),
        (1_200_000, [1_300_000.0], False),
        (990_000, [], True),
    ],
)
def test_slow_is_who_carries_much_less_than_the_best_or_than_the_least(
    capacity: float | None, others: list[float | None], drags: bool
) -> None:
    rate = LayerRate(FULL)
    assert rate.drags(capacity, rate.best([capacity, *others])) is drags


def test_it_is_lowered_at_once_and_raised_slowly() -> None:
    rate = LayerRate(FULL)
    assert rate.plan(10.0, [None, 1_500_000]) == 1_500_000
    assert rate.plan(10.0 + STEP_S, [None]) is None, "it has just been lowered"
    assert rate.plan(10.0 + HOLD_S, [None]) == 1_500_000 * RAISE
    assert rate.plan(10.5 + HOLD_S, [None]) is None
    now = 11.0 + HOLD_S
    while rate.bitrate_bps < FULL:
        assert rate.plan(now, [None]) is not None
        now += STEP_S
    assert rate.plan(now, [None]) is None
    assert now - 11.0 - HOLD_S < 5


def test_small_changes_are_left_out() -> None:
    rate = LayerRate(FULL)
    assert rate.plan(10.0, [1_950_000]) is None
    assert rate.plan(10.0, [1_780_000], costs_key=True) is None
    assert rate.plan(10.0, [1_780_000]) == 1_780_000


def test_nobody_changes_nothing_and_the_least_is_kept() -> None:
    rate = LayerRate(FULL)
    assert rate.plan(10.0, []) is None
    assert rate.plan(10.0, [100_000]) == FULL * FLOOR
    assert rate.reset()
    assert not rate.reset()
    assert rate.begin_low() == FULL * FLOOR


@given(
    st.lists(st.lists(st.none() | st.floats(0, 5e6), max_size=3), min_size=1, max_size=80),
    st.booleans(),
)
def test_changes_keep_their_distance_and_their_bounds(reports: list[list[float | None]], costs_key: bool) -> None:
    rate = LayerRate(FULL)
    changes = []
    for number, capacities in enumerate(reports):
        changed = rate.plan(number / 2, capacities, costs_key)
        if changed is not None:
            changes.append(number / 2)
            assert FLOOR * FULL <= changed <= FULL
            assert changed == rate.bitrate_bps
    least = STEP_WITH_KEY_S if costs_key else STEP_S
    assert all(later - earlier >= least for earlier, later in itertools.pairwise(changes))
