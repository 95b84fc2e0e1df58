"""Time stamps of a live source on our clock: they follow its own, without its jumps and drift. No clock, no I/O.

Arrival times jitter, and a camera's time stamps drift, jump and start anywhere. What counts is the smallest delay seen:
each stamp is the source's own plus an offset that falls at once when something comes earlier than expected, and rises
slowly.
"""

JUMP_S = 0.5
RISE, FAST_RISE = 0.002, 0.5
"""How much of the lateness of each stamp goes into the offset: little of jitter, more the later it is, so that even a
camera whose stamps run 10 % too slow stays less than 0.15 s behind."""


class Restamp:
    """Turns the time stamps of one source into seconds since its start; all its streams share one."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._last: dict[str, float] = {}
        self.jumps = 0

    def stamp(self, stream: str, stamp_s: float | None, now: float) -> float:
        """The time of what arrived at `now`: never in the future, and never before what `stream` gave last."""
        time_s = max(self._placed(stamp_s, now), self._last.get(stream, 0.0))
        self._last[stream] = time_s
        return time_s

    def _placed(self, stamp_s: float | None, now: float) -> float:
        if stamp_s is None:
            return now
        if self._offset is None:
            self._offset = now - stamp_s
        late = now - (stamp_s + self._offset)
        if abs(late) > JUMP_S:
            self._offset += late
            self.jumps += 1
        elif late < 0:
            self._offset += late
        else:
            self._offset += late * (RISE + FAST_RISE * (late / JUMP_S) ** 2)
        return min(stamp_s + self._offset, now)
