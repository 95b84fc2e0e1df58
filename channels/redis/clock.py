"""What time it is at Redis, as its answers tell: for commands that must not be done late. No I/O."""

from collections.abc import Awaitable, Callable
from typing import Any


class RedisClock:
    """Milliseconds of Redis TIME; `now` is in monotonic seconds of this process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._ahead_ms: float | None = None

    def learn(self, time_ms: int) -> None:
        """Redis said just now that it was `time_ms`."""
        self._ahead_ms = time_ms - self.now() * 1000

    def at(self, instant: float) -> int:
        """What Redis will say at `instant`; far in the future as long as it said nothing yet."""
        if self._ahead_ms is None:
            return 2**53
        return int(instant * 1000 + self._ahead_ms)

    async def in_time(self, limit_s: float, ask: Callable[[int], Awaitable[list[Any]]]) -> list[Any] | None:
        """Return what Redis answers to `ask`, which gives it the time of Redis until which that is wanted; None when it
        did it too late, that is not at all: its first word is `late` then, and the second is its time in any case.
        """
        until = self.now() + limit_s
        for _ in range(2):
            reply = await ask(self.at(until))
            self.learn(reply[1])
            if reply[0] != b"late":
                return reply
            # Redis has another time than we thought, since we are not late
        return None
