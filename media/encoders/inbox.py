"""From the reader thread to another: bounded queues. Of raw items the newest wins, of encoded ones the key frame."""

import threading
from collections import deque
from typing import Generic, TypeVar

from media.encoders.encoder import AccessUnit

T = TypeVar("T")


class Inbox(Generic[T]):
    """Holds at most `bound` items; when full the oldest is dropped. With a bound of 1 it is a slot."""

    def __init__(self, bound: int) -> None:
        self._items: deque[T] = deque()
        self._bound = bound
        self._ready = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    def clear(self) -> int:
        """Give up what waits and give its number."""
        with self._ready:
            lost = len(self._items)
            self._items.clear()
            return lost

    def put(self, item: T) -> int:
        """Add an item and give the number of items lost by it (0 or 1); never blocks."""
        with self._ready:
            if self._is_closed:
                return 1
            lost = len(self._items) >= self._bound
            if lost:
                self._items.popleft()
            self._items.append(item)
            self._ready.notify()
            return int(lost)

    def take(self, timeout_s: float) -> T | None:
        """The oldest item; None when none came in time or the inbox is closed."""
        with self._ready:
            if not self._items and not self._is_closed:
                self._ready.wait(timeout_s)
            return self._items.popleft() if self._items else None

    def close(self) -> None:
        """Wake whoever waits; what is in it is given up."""
        with self._ready:
            self._is_closed = True
            self._items.clear()
            self._ready.notify_all()


class UnitInbox:
    """Holds at most `bound` access units for a decoder.

    When full it gives up what waits and all that comes up to the next key frame: a decoder can start there.
    """

    def __init__(self, bound: int, *, waits_for_key: bool = True) -> None:
        self._inbox: Inbox[AccessUnit] = Inbox(bound)
        self._bound = bound
        self._lock = threading.Lock()
        self._waits_for_key = waits_for_key

    def put(self, unit: AccessUnit) -> int:
        """Add a unit and give the number of units lost by it; what comes before the first key frame is lost."""
        with self._lock:
            if unit.is_key:
                self._waits_for_key = False
            if self._waits_for_key:
                return 1
            lost = 0
            if len(self._inbox) >= self._bound:
                lost = self._inbox.clear()
                if not unit.is_key:
                    self._waits_for_key = True
                    return lost + 1
            return lost + self._inbox.put(unit)

    def take(self, timeout_s: float) -> AccessUnit | None:
        """The oldest unit; None when none came in time or the inbox is closed."""
        return self._inbox.take(timeout_s)

    def close(self) -> None:
        """Wake whoever waits; what is in it is given up."""
        self._inbox.close()
