"""The rate of one layer: as much as its viewers carry, changed seldom. No clock, no codec."""

from collections.abc import Iterable

FLOOR = 0.5
"""Part of its full rate that a layer keeps; who cannot take that belongs in a smaller one."""
SLOW = 0.7
"""A viewer that carries less than this part of what the best of its layer carries is slow."""
STEP_S, STEP_WITH_KEY_S = 1.0, 3.0
"""Least time between two changes, where one is free and where it costs a key frame."""
RAISE, RAISE_WITH_KEY = 1.08, 1.3
HOLD_S = 3.0
"""After it was lowered a rate is not raised for so long."""
_BAND, _BAND_WITH_KEY = 0.05, 0.15
"""Changes by a smaller part are left out."""


class LayerRate:
    """The rate of one codec and layer, from half of `full_bps` to all of it; whoever owns it passes on what changes."""

    def __init__(self, full_bps: int) -> None:
        self.full_bps = full_bps
        self.bitrate_bps = full_bps
        self._changed_at = float("-inf")
        self._lowered_at = float("-inf")

    def best(self, capacities: Iterable[float | None]) -> float:
        """What the best viewer carries, no more than the full rate; None is a viewer without a limit."""
        return max((self._within(capacity) for capacity in capacities), default=float(self.full_bps))

    def drags(self, capacity: float | None, best_bps: float) -> bool:
        """Whether a viewer carries too little, beside the best or for the layer's least, to have a say in the rate."""
        if capacity is None:
            return False
        return capacity < max(SLOW * best_bps, FLOOR * self.full_bps)

    def plan(self, now: float, capacities: Iterable[float | None], costs_key: bool = False) -> int | None:
        """The new rate, or None for no change; `capacities` are those of the viewers that are not slow."""
        limits = [self._within(capacity) for capacity in capacities]
        if not limits or now - self._changed_at < (STEP_WITH_KEY_S if costs_key else STEP_S):
            return None
        wanted = max(min(limits), FLOOR * self.full_bps)
        band = _BAND_WITH_KEY if costs_key else _BAND
        if wanted < self.bitrate_bps * (1 - band):
            self._lowered_at = now
        elif (
            wanted > self.bitrate_bps * (1 + band) or self._is_last_step(wanted)
        ) and now >= self._lowered_at + HOLD_S:
            wanted = min(wanted, self.bitrate_bps * (RAISE_WITH_KEY if costs_key else RAISE))
        else:
            return None
        self._changed_at = now
        self.bitrate_bps = round(wanted)
        return self.bitrate_bps

    def begin_low(self) -> int:
        """Begin with the least rate, for a viewer who comes from a smaller layer; it rises as the path carries it."""
        self.bitrate_bps = round(FLOOR * self.full_bps)
        return self.bitrate_bps

    def reset(self) -> bool:
        """Go back to the full rate, as nobody watches; whether that is a change."""
        is_change = self.bitrate_bps != self.full_bps
        self.bitrate_bps = self.full_bps
        self._changed_at = self._lowered_at = float("-inf")
        return is_change

    def _is_last_step(self, wanted: float) -> bool:
        return wanted >= self.full_bps > self.bitrate_bps

    def _within(self, capacity: float | None) -> float:
        return float(self.full_bps) if capacity is None else min(capacity, float(self.full_bps))
