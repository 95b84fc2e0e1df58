"""From the reader thread to an encoder thread: a bounded queue in which the newest wins."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Holds at most `bound` items; when full the oldest is dropped. With a bound of 1 it is a slot."""

    def __init__(self, bound: int) -> None:
        self._items: deque[T] = deque()
        self._bound = bound
        self._ready = threading.Condition()
        self._is_closed = False

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
