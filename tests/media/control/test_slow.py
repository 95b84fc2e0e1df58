"""A slow viewer's way down and up."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.control import slow
from media.control.slow import NEXT, Cause, SlowViewer, Step, Verdict

TICK_S = 0.5
FINE = Verdict(is_slow=False, is_congested=False, can_rise=False, fitting=1, last=2)
SLOW = Verdict(is_slow=True, is_congested=True, can_rise=False, fitting=1, last=2)
FREE = Verdict(is_slow=False, is_congested=False, can_rise=True, fitting=1, last=2)
CROWDED = Verdict(is_slow=False, is_congested=True, can_rise=False, fitting=1, last=2)


class Watched:
    """One viewer with a clock by hand; its orders come into force at once."""

    def __init__(self, layer: int = 0) -> None:
        self.viewer = SlowViewer(layer)
        self.now = 100.0

    def run(self, seconds: float, verdict: Verdict) -> list[tuple[float, Step, int]]:
        changes = []
        start = self.now
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            if self.viewer.judge(self.now, verdict):
                changes.append((self.now - start, self.viewer.step, self.viewer.layer))
        return changes

    def until(self, step: Step, verdict: Verdict, limit_s: float = 300.0) -> float:
        start = self.now
        while self.viewer.step is not step:
            assert self.now - start < limit_s
            self.run(TICK_S, verdict)
        return self.now - start


def test_two_slow_seconds_bring_a_smaller_layer() -> None:
    watched = Watched()
    assert watched.run(1.5, SLOW) == []
    watched.run(0.5, FINE)
    assert watched.run(2.5, SLOW) == [(2.5, Step.LAYER, 1)]


def test_a_very_narrow_path_skips_a_layer() -> None:
    verdict = Verdict(is_slow=True, is_congested=True, can_rise=False, fitting=2, last=2)
    assert Watched().run(2.5, verdict) == [(2.5, Step.LAYER, 2)]


def test_below_the_smallest_layer_come_key_frames_a_pause_another_try_and_the_door() -> None:
    watched = Watched(layer=2)
    steps = [watched.viewer.step]
    while watched.viewer.step is not Step.OUT:
        steps += [step for _, step, _ in watched.run(TICK_S, SLOW)]
        assert watched.now < 200.0
    assert [step for step, _ in itertools.groupby(steps)] == [
        *[Step.LAYER, Step.THINNED, Step.PAUSED] * slow.STRIKES,
        *[Step.LAYER, Step.THINNED, Step.OUT],
    ]


def test_key_frames_only_last_longer_each_time_that_more_was_too_much() -> None:
    watched = Watched(layer=2)
    waits = []
    for _ in range(3):
        watched.until(Step.THINNED, SLOW)
        waits.append(watched.until(Step.LAYER, FINE))
    assert waits == [slow.THIN_S, 2 * slow.THIN_S, 4 * slow.THIN_S]
    watched.run(slow.GOOD_S + 1, FINE)
    watched.until(Step.THINNED, SLOW)
    assert watched.until(Step.LAYER, FINE) == slow.THIN_S, "all is forgotten"


def test_free_path_brings_a_larger_layer_after_a_while() -> None:
    watched = Watched(layer=2)
    changes = watched.run(30, FREE)
    assert [layer for _, _, layer in changes] == [1, 0]
    assert changes[0][0] >= slow.UP_FIRST_S
    assert watched.viewer.risen == 2


def test_each_try_that_fails_makes_the_next_one_later() -> None:
    watched = Watched(layer=2)
    waits = []
    for _ in range(6):
        start = watched.now
        while watched.viewer.layer == 2:
            watched.run(TICK_S, FREE)
        waits.append(watched.now - start)
        assert watched.run(1.5, CROWDED), "a trial ends at the first trouble"
        assert watched.viewer.layer == 2
    assert waits == sorted(waits)
    assert waits[0] <= slow.UP_FIRST_S + 1
    assert waits[-1] == pytest.approx(slow.UP_LAST_S, abs=1)


def test_viewer_that_stays_up_is_trusted_again() -> None:
    watched = Watched(layer=1)
    watched.run(slow.UP_FIRST_S + 1, FREE)
    watched.run(1.5, CROWDED)
    assert watched.viewer.layer == 1
    watched.run(2 * slow.UP_FIRST_S + 1, FREE)
    assert watched.viewer.layer == 0
    watched.run(slow.GOOD_S + 1, FINE)
    watched.run(2.5, SLOW)
    assert watched.viewer.layer == 1
    assert watched.run(slow.UP_FIRST_S + 1, FREE)


def test_no_viewer_gets_more_than_it_chose() -> None:
    chosen = Verdict(is_slow=False, is_congested=False, can_rise=True, fitting=2, last=2, top=1)
    watched = Watched()
    watched.run(60, chosen)
    assert watched.viewer.layer == 1


def test_what_was_seen_before_a_change_is_forgotten() -> None:
    watched = Watched()
    watched.run(2.0, SLOW)
    watched.viewer.began(watched.now)
    assert watched.viewer.is_settling(watched.now + 1)
    assert not watched.viewer.is_overdue(watched.now + 1)
    assert watched.run(1.5, SLOW) == []


def test_table_has_no_way_out_of_the_door() -> None:
    assert Step.OUT not in {step for step, _ in NEXT}
    assert {cause for step, cause in NEXT if step is Step.THINNED} == set(Cause)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(1, 2)), max_size=400))
def test_any_reports_lead_only_to_layers_and_steps_that_exist(reports: list[tuple[bool, bool, bool, int]]) -> None:
    viewer = SlowViewer()
    for number, (is_slow, is_congested, can_rise, fitting) in enumerate(reports):
        if viewer.step is Step.OUT:
            break
        viewer.judge(number / 2, Verdict(is_slow, is_congested, can_rise and viewer.layer > 0, fitting, last=2))
        assert 0 <= viewer.layer <= 2
