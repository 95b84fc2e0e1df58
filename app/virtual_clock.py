"""A clock that can be moved: the seconds of another one and an offset. Knows nobody who reads it."""

from collections.abc import Callable


class VirtualClock:
    """Seconds that pass as those of `real` do, and jump forward when told; never back but by `reset`."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real
        self.offset_s = 0.0

    def now(self) -> float:
        """The present in this clock's seconds."""
        return self._real() + self.offset_s

    def advance(self, by_s: float) -> None:
        """Jump forward."""
        self.offset_s += by_s

    def reset(self) -> None:
        """Show the real seconds again."""
        self.offset_s = 0.0
