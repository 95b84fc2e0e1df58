"""How often viewers may make an offer, each and all: working one through costs a master time. No I/O, no clock.

An offer costs by its size: one of 3 kB takes 10 ms of a processor, one of 60 kB seven times as much.
"""

from collections import OrderedDict

from channels.bucket import Bucket

COST_BYTES = 8 * 1024
"""A browser's offer is smaller; each further begun one counts as another offer."""
PER_CLIENT_S = 1.0
AT_ONCE_PER_CLIENT = 12.0
"""A handful of retries and ICE restarts, or one offer of any size that is taken."""
IN_ALL_S = 32.0
AT_ONCE_IN_ALL = 256.0
"""As many viewers as a master has offer anew when it comes back."""
_CLIENTS = 1_024


class OfferGate:
    """Lets offers through by client id and in all; those heard of longest ago are forgotten."""

    def __init__(self, now: float) -> None:
        self._in_all = Bucket(IN_ALL_S, AT_ONCE_IN_ALL, now)
        self._clients: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def admits(self, client_id: str, size: int, now: float) -> bool:
        """Whether an offer of `size` bytes may be worked through at `now` (monotonic seconds)."""
        cost = min(AT_ONCE_PER_CLIENT, 1.0 + size // COST_BYTES)
        bucket = self._clients.pop(client_id, None) or Bucket(PER_CLIENT_S, AT_ONCE_PER_CLIENT, now)
        self._clients[client_id] = bucket
        if len(self._clients) > _CLIENTS:
            self._clients.popitem(last=False)
        # In this order: what one client has too much of takes nothing from the others.
        return bucket.take(now, cost) == 0.0 and self._in_all.take(now, cost) == 0.0
