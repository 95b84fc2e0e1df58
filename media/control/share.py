"""How much of the event loop's time one viewer may take by what it sends. No clock: whoever uses it measures.

A packet of hostile bytes can cost a thousand times what it costs to send. Who takes more than its share is not listened
to until it is made up for; the others do not notice.
"""

PART = 0.1
"""Of the processor time of a second; an honest viewer takes about a thousandth."""
BURST_S = 0.5
"""Twice what the acknowledgements of a snapshot of 1 MB cost, and the packets that they let out."""
DEBT_S = 0.1
"""What one costly packet takes beyond the share is forgotten from here on: a second without a hearing is enough."""


class Share:
    """The share of one viewer, full at first; `now` is monotonic seconds, costs are seconds of processor time."""

    def __init__(self, now: float) -> None:
        self._left_s = BURST_S
        self._filled_at = now
        self.refused = 0

    def is_open(self, now: float) -> bool:
        """Whether the viewer may be listened to now; counts when not."""
        self._left_s = min(BURST_S, self._left_s + PART * max(0.0, now - self._filled_at))
        self._filled_at = now
        self.refused += self._left_s <= 0
        return self._left_s > 0

    def spend(self, cost_s: float) -> None:
        """Take off what listening has cost."""
        self._left_s = max(self._left_s - cost_s, -DEBT_S)
