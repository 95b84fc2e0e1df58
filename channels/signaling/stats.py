"""Counters of the signaling plane as plain numbers; who shows them reads them."""

from bisect import bisect_left
from typing import Final

import msgspec

DELIVERY_BOUNDS_S: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class HubStats(msgspec.Struct):
    """What one hub did since its start.

    `messages` counts by (role of the sender, action, result), `admissions` by (role, result). Results of a message:
    relayed, published, held, expired, absent, full, limited, malformed, slow, unreachable. Of an admission: admitted,
    replaced, rate, full, draining. `delivery_counts` belong to DELIVERY_BOUNDS_S and one more for all above.
    """

    masters: int = 0
    viewers: int = 0
    messages: dict[tuple[str, str, str], int] = {}
    admissions: dict[tuple[str, str], int] = {}
    delivery_counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(DELIVERY_BOUNDS_S) + 1))
    delivery_seconds: float = 0.0
    slow_closed: int = 0
    lease_lost: int = 0
    publish_unreachable: int = 0
    envelopes_refused: int = 0
    mailbox_unavailable: int = 0
    leases_renewed: int = 0
    presence_unavailable: int = 0
    admitted_locally: int = 0

    def count_message(self, role: str, action: str, result: str) -> None:
        """One message more with this outcome."""
        key = (role, action, result)
        self.messages[key] = self.messages.get(key, 0) + 1

    def count_admission(self, role: str, result: str) -> None:
        """One attempt to connect more with this outcome."""
        key = (role, result)
        self.admissions[key] = self.admissions.get(key, 0) + 1

    def count_relayed(self, role: str, action: str, seconds: float) -> None:
        """One message went from the sender's frame to the recipient's queue on this node, and took this long."""
        key = (role, action, "relayed")
        self.messages[key] = self.messages.get(key, 0) + 1
        self.delivery_counts[bisect_left(DELIVERY_BOUNDS_S, seconds)] += 1
        self.delivery_seconds += seconds
