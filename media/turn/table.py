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
        self._noted: dict[int, float] = {}  # each allocation's one valid entry in _ends

    def __len__(self) -> int:
        return len(self.by_relay)

    def add(self, allocation: Allocation) -> None:
        """Add an allocation under all its keys."""
        self.by_client[allocation.client] = allocation
        self.by_relay[allocation.relay] = allocation
        self.by_relayed_address[allocation.relayed_address] = allocation
        self._note(allocation)

    def moved(self, allocation: Allocation) -> None:
        """Take note that the allocation ends at another time now."""
        if allocation.expires_at < self._noted[allocation.relay]:
            self._note(allocation)  # a later end is seen when the earlier one comes

    def remove(self, allocation: Allocation) -> None:
        """Remove an allocation; its entry in the order of ends goes when its time comes."""
        del self.by_client[allocation.client]
        del self.by_relay[allocation.relay]
        del self.by_relayed_address[allocation.relayed_address]
        self._noted.pop(allocation.relay, None)

    def next_end(self) -> float | None:
        """Instant at which `ended` may find something, None when it never will."""
        return self._ends[0][0] if self._ends else None

    def ended(self, now: float) -> list[Allocation]:
        """Return the allocations whose lifetime is over; refreshed ones are put back in order."""
        found: list[Allocation] = []
        while self._ends and self._ends[0][0] <= now:
            end, relay = heapq.heappop(self._ends)
            if self._noted.get(relay) != end:
                continue
            allocation = self.by_relay[relay]
            if allocation.expires_at <= now:
                del self._noted[relay]  # another entry may name the same instant
                found.append(allocation)
            else:
                self._note(allocation)
        return found

    def _note(self, allocation: Allocation) -> None:
        self._noted[allocation.relay] = allocation.expires_at
        heapq.heappush(self._ends, (allocation.expires_at, allocation.relay))
