"""A token bucket: how often something may happen. Pure; the caller brings the clock."""


class Bucket:
    """`rate` takes per second on average, up to `burst` at once; full at first."""

    __slots__ = ("_tokens", "_updated", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._updated = now

    def take(self, now: float, count: float = 1.0) -> float:
        """Take tokens at `now` (monotonic seconds); 0.0 when there were, else the seconds until there are.

        More than `burst` there never are.
        """
        self._refill(now)
        if self._tokens >= count:
            self._tokens -= count
            return 0.0
        return (count - self._tokens) / self.rate

    def is_full(self, now: float) -> bool:
        """Whether a fresh bucket would behave the same, so that this one may be forgotten."""
        self._refill(now)
        return self._tokens >= self.burst

    def _refill(self, now: float) -> None:
        elapsed = now - self._updated
        if elapsed > 0.0:
            self._tokens = min(self.burst, self._tokens + elapsed * self.rate)
            self._updated = now
