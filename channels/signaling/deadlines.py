"""Deadlines of many things at once: set, move, cancel, and ask which are due. Pure; the caller brings the clock."""

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key", str, tuple[str, str, str])


class Deadlines(Generic[Key]):
    """At most one deadline per key; cancelled ones take no room for long."""

    def __init__(self) -> None:
        self._when: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def __len__(self) -> int:
        return len(self._when)

    def set(self, key: Key, when: float) -> None:
        """Give `key` the deadline `when` (monotonic seconds) in the place of an earlier one."""
        self._when[key] = when
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 64 + 2 * len(self._when):
            self._heap = [(due, name) for name, due in self._when.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Key) -> None:
        """Forget the deadline of `key`, if it has one."""
        self._when.pop(key, None)

    def next(self) -> float | None:
        """The earliest deadline."""
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> tuple[Key, ...]:
        """The keys whose deadline is at or before `now`, earliest first; they have none any more."""
        found = []
        while (when := self.next()) is not None and when <= now:
            _, key = heapq.heappop(self._heap)
            del self._when[key]
            found.append(key)
        return tuple(found)
