"""All live allocations, found by client, by relay socket and by relayed address. No I/O, no clock."""

import heapq

from media.turn.address import SocketAddress
from media.turn.allocation import Allocation, Client


class Table:
    """Allocations under their three keys, and in the order of their ends."""

    def __init__(self) -> None:
        self.by_client: dict[Client, Allocation] = {}
        self.by_relay: dict[int, Allocation] = {}
        self.by_relayed_address: dict[SocketAddress, Allocation] = {}
        self._ends: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.by_relay)

    def add(self, allocation: Allocation) -> None:
        """Add an allocation under all its keys."""
        self.by_client[allocation.client] = allocation
        self.by_relay[allocation.relay] = allocation
        self.by_relayed_address[allocation.relayed_address] = allocation
        heapq.heappush(self._ends, (allocation.expires_at, allocation.relay))

    def remove(self, allocation: Allocation) -> None:
        """Remove an allocation; its entry in the order of ends goes when its time comes."""
        del self.by_client[allocation.client]
        del self.by_relay[allocation.relay]
        del self.by_relayed_address[allocation.relayed_address]

    def next_end(self) -> float | None:
        """Instant at which `ended` may find something, None when it never will."""
        return self._ends[0][0] if self._ends else None

    def ended(self, now: float) -> list[Allocation]:
        """Return the allocations whose lifetime is over; refreshed ones are put back in order."""
        found: list[Allocation] = []
        while self._ends and self._ends[0][0] <= now:
            _, relay = heapq.heappop(self._ends)
            allocation = self.by_relay.get(relay)
            if allocation is None:
                continue
            if allocation.expires_at <= now:
                found.append(allocation)
            else:
                heapq.heappush(self._ends, (allocation.expires_at, relay))
        return found
