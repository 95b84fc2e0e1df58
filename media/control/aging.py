"""Which time it is for what is removed by its age: a wall clock that jumps forward is not believed at once. No clock.

What was removed does not come back, so an hour more of it costs less than one wrong setting of a clock.
"""

JUMP_S = 60.0
"""More than this between two looks is no adjustment."""
BELIEVED_S = 3600.0
"""A jump that has lasted this long is the time."""


class AgingTime:
    """Follows the wall clock but for its jumps forward; both clocks in seconds, the wall's since the epoch."""

    def __init__(self) -> None:
        self._offset_s: float | None = None  # from monotonic to epoch
        self._ahead: tuple[float, float] | None = None  # an offset that is not believed yet, and since when

    def begin(self, newest_s: float, clock_s: float) -> None:
        """Take the time of the newest that is there as the last that is sure, unless something is known already."""
        if self._offset_s is None:
            self._offset_s = newest_s - clock_s

    def now_s(self, wall_s: float, clock_s: float) -> float:
        """Return the time to reckon with, epoch seconds."""
        offset_s = wall_s - clock_s
        if self._offset_s is None or offset_s <= self._offset_s + JUMP_S or self._is_believed(offset_s, clock_s):
            self._offset_s, self._ahead = offset_s, None
        return clock_s + self._offset_s

    def _is_believed(self, offset_s: float, clock_s: float) -> bool:
        if self._ahead is None or abs(offset_s - self._ahead[0]) > JUMP_S:
            self._ahead = offset_s, clock_s
        return clock_s - self._ahead[1] >= BELIEVED_S
