"""Coalescer of key frame requests: one forced key frame per window for all viewers. No clock, no codec."""

WINDOW_S = 0.3


class KeyframeCoalescer:
    """Collects requests and says at which frame to force a key frame.

    A request outside the window is honoured at the next frame, one inside it at the window's end; `now` is
    monotonic seconds. Not safe for threads: the owner holds a lock.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._opens_at = float("-inf")
        self._is_pending = False

    def request(self) -> None:
        """Somebody needs a key frame."""
        self._is_pending = True

    def take(self, now: float) -> bool:
        """Whether the frame that is encoded now must be a key frame; True starts a new window."""
        if not self._is_pending or now < self._opens_at:
            return False
        self._is_pending = False
        self._opens_at = now + self._window_s
        return True

    def restarted(self) -> None:
        """A new encoder makes its first frame a key frame by itself: it answers all requests so far.

        It opens no window, so that a viewer whose transport came up just after it need not wait.
        """
        self._is_pending = False
