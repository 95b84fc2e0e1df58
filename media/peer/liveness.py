"""Whether a viewer is still there, judged by what was heard of it. No I/O, no clock: `now` is monotonic seconds.

Most viewers send receiver reports about once a second. One that has done so is gone when they stop. The C SDK of KVS
may send none: such a viewer is there as long as it answers connectivity checks, which are sent only while nothing else
is heard of it.
"""

ASK_AFTER_S = 2.0
REPORTS_ARE_REGULAR = 2
"""A viewer that sent as many reports is taken to go on with them."""


class Liveness:
    """Signs of life of one viewer; it is gone after `silence_s` without."""

    def __init__(self, silence_s: float, now: float) -> None:
        self.silence_s = silence_s
        self._heard_at = now
        self._reported_at = now
        self._reports = 0

    def heard(self, now: float) -> None:
        """Anything that only the viewer itself can have sent: an authenticated STUN message, RTP, RTCP."""
        self._heard_at = now

    def reported(self, now: float, *, is_regular: bool) -> None:
        """RTCP came; `is_regular` tells a receiver report for a picture, which come by the second.

        Those for sound come every 5 s or so, and stop counting here: such a viewer is asked.
        """
        self._heard_at = self._reported_at = now
        self._reports += is_regular

    def must_ask(self, now: float) -> bool:
        """Whether it is time for a connectivity check: nothing was heard for 2 s."""
        return now - self._heard_at >= min(ASK_AFTER_S, self.silence_s / 3)

    @property
    def deadline(self) -> float:
        """When the viewer is gone unless something is heard before."""
        is_reporting = self._reports >= REPORTS_ARE_REGULAR
        return (self._reported_at if is_reporting else self._heard_at) + self.silence_s
