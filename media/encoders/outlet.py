"""From an encoder thread to the event loop: a bounded queue that gives up access units up to the next key frame."""

import threading
from collections import deque
from collections.abc import Callable

from media.encoders.encoder import AccessUnit

BOUND = 4


class Outlet:
    """Holds at most 4 access units.

    When full it drops what comes up to the next key frame, which then replaces all that waits: a decoder can
    start there, and with the units before it nobody could use what was lost. `wake` is called in the thread of
    `put` when the queue was empty; it must lead to a call of `drain`.
    """

    def __init__(self, wake: Callable[[], None], bound: int = BOUND) -> None:
        self._wake = wake
        self._bound = bound
        self._units: deque[AccessUnit] = deque()
        self._lock = threading.Lock()
        self._skips_to_key = False

    def put(self, unit: AccessUnit) -> int:
        """Add a unit and give the number of units lost by it; when it is itself lost, a key frame is needed."""
        lost = 0
        with self._lock:
            if unit.is_key:
                if self._skips_to_key or len(self._units) >= self._bound:
                    lost = len(self._units)
                    self._units.clear()
                self._skips_to_key = False
            elif self._skips_to_key or len(self._units) >= self._bound:
                self._skips_to_key = True
                return 1
            self._units.append(unit)
            must_wake = len(self._units) == 1
        if must_wake:
            self._wake()
        return lost

    def drain(self) -> list[AccessUnit]:
        """Take all that waits, oldest first."""
        with self._lock:
            units = list(self._units)
            self._units.clear()
            return units
