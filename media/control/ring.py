"""A ring of recorded pieces in hours: what to give up by age and by size, oldest first. No clock, no disk.

A month of pieces would fill the memory, so those of the oldest hour alone are known one by one, and only once they
are needed.
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

Name = TypeVar("Name")


class RingLimits(msgspec.Struct, frozen=True):
    """How much to keep: seconds and bytes; None keeps without end."""

    max_age_s: float | None = None
    max_bytes: int | None = None


class _Hour(msgspec.Struct):
    name: str
    start_s: float
    size_bytes: int = 0


class Ring(Generic[Name]):
    """What there is. Times are epoch seconds; of a piece it is that of its end."""

    def __init__(self, limits: RingLimits) -> None:
        self._limits = limits
        self._hours: deque[_Hour] = deque()
        self._oldest: deque[tuple[Name, float, int]] | None = None
        self.size_bytes = 0

    def clear(self) -> None:
        """Forget everything, to be filled anew."""
        self._hours.clear()
        self._oldest = None
        self.size_bytes = 0

    def add_hour(self, hour: str, start_s: float, size_bytes: int) -> None:
        """Take in an hour that is newer than all others."""
        self._hours.append(_Hour(hour, start_s, size_bytes))
        self.size_bytes += size_bytes

    def add(self, hour: str, name: Name, end_s: float, size_bytes: int) -> None:
        """Take in a piece that is newer than all others."""
        if not self._hours or self._hours[-1].name != hour:
            self.add_hour(hour, end_s, 0)
        self._hours[-1].size_bytes += size_bytes
        self.size_bytes += size_bytes
        if self._oldest is not None and len(self._hours) == 1:
            self._oldest.append((name, end_s, size_bytes))

    def unread(self, now_s: float, most_bytes: int | None = None) -> str | None:
        """The hour whose pieces must be told by `read` before `overdue` can go on; None when it can."""
        if not self._hours or self._oldest is not None:
            return None
        first = self._hours[0]
        return first.name if self._is_old(first.start_s, now_s) or self._is_much(most_bytes) else None

    def read(self, pieces: Iterable[tuple[Name, float, int]]) -> None:
        """The pieces of the oldest hour, oldest first: name, end (s), size (bytes)."""
        self._oldest = deque(pieces)
        size_bytes = sum(size for _, _, size in self._oldest)
        self.size_bytes += size_bytes - self._hours[0].size_bytes
        self._hours[0].size_bytes = size_bytes

    def overdue(self, now_s: float, most_bytes: int | None = None) -> list[Name]:
        """Take out those pieces of the oldest hour that are too old or too much; the newest piece is never too much.

        `most_bytes` is what may be left this time where that is less than the limit.
        """
        names: list[Name] = []
        pieces = self._oldest
        while pieces:
            name, end_s, size_bytes = pieces[0]
            is_last = len(self._hours) == 1 and len(pieces) == 1
            if not self._is_old(end_s, now_s) and (is_last or not self._is_much(most_bytes)):
                break
            pieces.popleft()
            self._hours[0].size_bytes -= size_bytes
            self.size_bytes -= size_bytes
            names.append(name)
        return names

    def left(self) -> list[Name]:
        """The pieces of the oldest hour that are still there."""
        return [name for name, _, _ in self._oldest or ()]

    def drop_empty(self) -> str | None:
        """Forget the oldest hour when all its pieces are gone, and return its name."""
        if self._oldest is None or self._oldest or not self._hours:
            return None
        self._oldest = None
        return self._hours.popleft().name

    def _is_old(self, time_s: float, now_s: float) -> bool:
        return self._limits.max_age_s is not None and time_s < now_s - self._limits.max_age_s

    def _is_much(self, most_bytes: int | None) -> bool:
        return any(most is not None and self.size_bytes > most for most in (self._limits.max_bytes, most_bytes))
