"""What becomes of a viewer whose path is too narrow: a smaller layer, key frames only, a pause, the door. No clock.

It harms nobody else: only what this one viewer gets changes. Back up it goes as carefully: each try that fails makes
the wait before the next one longer.
"""

import enum

import msgspec

SLOW_S = 2.0
"""So long a viewer must be slow before anything happens."""
SETTLE_S = 1.5
"""After a change the path first carries what waits in it."""
OVERDUE_S = 12.0
"""Longer than a source that makes no key frame on request goes without one."""
TRIAL_S = 6.0
"""So long a larger layer is on trial: trouble then means that it was too much."""
TRIAL_SLOW_S = 0.5
UP_FIRST_S, UP_LAST_S = 10.0, 120.0
"""How long the path must look free before a larger layer is tried; doubled by each try that failed."""
THIN_S = 5.0
"""So long a viewer gets key frames only, before it gets everything again or, when it is still slow, nothing; doubled
each time that everything was too much, up to `UP_LAST_S`."""
PAUSE_S = 5.0
STRIKES = 3
"""Pauses that did not help, before the viewer is let go."""
GOOD_S = 30.0
"""So long without trouble, and all that was held against a viewer is forgotten."""


class Step(enum.Enum):
    """What a viewer gets: a layer, its key frames only, nothing, never more."""

    LAYER = "layer"
    THINNED = "thinned"
    PAUSED = "paused"
    OUT = "out"


class Cause(enum.Enum):
    """What moves a viewer: it is slow though there is no smaller layer, or it had its time."""

    SLOW = "slow"
    TIME = "time"
    STRIKES = "strikes"


NEXT = {
    (Step.LAYER, Cause.SLOW): Step.THINNED,
    (Step.THINNED, Cause.SLOW): Step.PAUSED,
    (Step.THINNED, Cause.TIME): Step.LAYER,
    (Step.PAUSED, Cause.TIME): Step.LAYER,
    (Step.THINNED, Cause.STRIKES): Step.OUT,
}
"""A pair that is not here is an error."""


class Verdict(msgspec.Struct, frozen=True):
    """How a viewer does: `fitting` is the layer that its path carries, `can_rise` that a larger one may be tried.

    `last` is the smallest layer there is, `top` the largest that the viewer may have.
    """

    is_slow: bool
    is_congested: bool
    can_rise: bool
    fitting: int
    last: int
    top: int = 0


class SlowViewer:
    """One viewer's way down and up; tell it `began` when a change that it ordered has come into force."""

    def __init__(self, layer: int = 0) -> None:
        self.layer = layer
        self.step = Step.LAYER
        self.risen = 0
        self.fallen = 0
        self._changed_at = float("-inf")
        self._slow_since: float | None = None
        self._trouble_at = float("-inf")
        self._free_since: float | None = None
        self._risen_at: float | None = None
        self._wait_s = UP_FIRST_S
        self._strikes = 0
        self._thin_s = THIN_S

    def is_settling(self, now: float) -> bool:
        """The path still carries what was sent before the last change."""
        return now < self._changed_at + SETTLE_S

    def is_overdue(self, now: float) -> bool:
        """The last change ought to be in force by now."""
        return now >= self._changed_at + OVERDUE_S

    def began(self, now: float) -> None:
        """The last change has come into force; what was seen before says nothing."""
        self._changed_at = now
        self._slow_since = self._free_since = None

    def judge(self, now: float, verdict: Verdict) -> bool:
        """Take a verdict, about twice a second; whether `layer` or `step` has changed."""
        before = (self.step, self.layer)
        self._remember(now, verdict)
        if self.step is Step.LAYER:
            self._judge_layer(now, verdict)
        elif self.step is Step.THINNED:
            self._judge_thinned(now)
        elif self.step is Step.PAUSED and now >= self._changed_at + PAUSE_S:
            self._move(now, Cause.TIME)
        return (self.step, self.layer) != before

    def _remember(self, now: float, verdict: Verdict) -> None:
        is_trouble = verdict.is_slow or (verdict.is_congested and self._is_on_trial(now))
        if not is_trouble:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = now
        if is_trouble:
            self._trouble_at = now
        if not verdict.can_rise:
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        if self.step is Step.LAYER and now >= max(self._trouble_at, self._changed_at) + GOOD_S:
            self._strikes, self._thin_s = 0, THIN_S

    def _judge_layer(self, now: float, verdict: Verdict) -> None:
        is_trial = self._is_on_trial(now)
        slow_s = 0.0 if self._slow_since is None else now - self._slow_since
        if self._slow_since is not None and slow_s >= (TRIAL_SLOW_S if is_trial else SLOW_S):
            self._down(now, verdict, is_trial)
        elif self.layer < verdict.top:
            self._go(now, verdict.top)
        elif self.layer > verdict.top and self._free_since is not None and now - self._free_since >= self._wait_s:
            self.risen += 1
            self._go(now, self.layer - 1)
            self._risen_at = now
        elif self._risen_at is not None and not is_trial and now >= self._risen_at + GOOD_S:
            self._risen_at, self._wait_s = None, UP_FIRST_S

    def _down(self, now: float, verdict: Verdict, is_trial: bool) -> None:
        if self.layer >= verdict.last:
            self._move(now, Cause.SLOW)
            return
        if is_trial:
            self._wait_s = min(self._wait_s * 2, UP_LAST_S)
        self._risen_at = None
        self.fallen += 1
        self._go(now, self.layer + 1 if is_trial else max(self.layer + 1, verdict.fitting))

    def _judge_thinned(self, now: float) -> None:
        if self._slow_since is not None and now - self._slow_since >= SLOW_S:
            self._strikes += 1
            self._move(now, Cause.STRIKES if self._strikes > STRIKES else Cause.SLOW)
        elif now >= self._changed_at + self._thin_s and self._slow_since is None:
            self._thin_s = min(self._thin_s * 2, UP_LAST_S)
            self._move(now, Cause.TIME)

    def _is_on_trial(self, now: float) -> bool:
        return self._risen_at is not None and now < max(self._risen_at, self._changed_at) + TRIAL_S

    def _go(self, now: float, layer: int) -> None:
        self.layer = layer
        self.began(now)

    def _move(self, now: float, cause: Cause) -> None:
        self.step = NEXT[self.step, cause]
        self.began(now)
