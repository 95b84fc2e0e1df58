"""All live allocations, found by client, by relay socket and by relayed address. No I/O, no clock."""

import heapq
import math

from media.turn.address import SocketAddress
from media.turn.allocation import Allocation, Client, Relayed

_MOST_STALE = 1024
"""Ends that are noted and count no more, beside one for each relayed address."""


class Table:
    """Allocations under their keys, and their relayed addresses in the order of their ends.

    `by_relayed_address` gives the number of the relay socket.
    """

    def __init__(self) -> None:
        self.by_client: dict[Client, Allocation] = {}
        self.by_relay: dict[int, Allocation] = {}
        self.by_relayed_address: dict[SocketAddress, int] = {}
        self._ends: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.by_client)

    def relay_of(self, relayed_address: SocketAddress, *, is_tcp: bool) -> int | None:
        """Return the relay with this address, None unless it is one for that transport."""
        relay = self.by_relayed_address.get(relayed_address)
        return None if relay is None or self.by_relay[relay].is_tcp != is_tcp else relay

    def add(self, allocation: Allocation) -> None:
        """Add an allocation under all its keys."""
        self.by_client[allocation.client] = allocation
        for relayed in allocation.relayed:
            self.by_relay[relayed.relay] = allocation
            self.by_relayed_address[relayed.address] = relayed.relay
            self._note(relayed)

    def moved(self, allocation: Allocation) -> None:
        """Take note that relayed addresses of the allocation end at another time now."""
        for relayed in allocation.relayed:
            if relayed.expires_at < relayed.noted_end:
                self._note(relayed)  # a later end is seen when the earlier one comes

    def move(self, allocation: Allocation, client: Client) -> None:
        """Give the allocation to another 5-tuple, which has none."""
        del self.by_client[allocation.client]
        allocation.client = client
        self.by_client[client] = allocation

    def remove(self, allocation: Allocation, relayed: Relayed) -> None:
        """Take a relayed address from an allocation; without any left the allocation is removed.

        The entry in the order of ends goes when its time comes.
        """
        del self.by_relay[relayed.relay]
        del self.by_relayed_address[relayed.address]
        allocation.lose(relayed)
        if not allocation.relayed:
            del self.by_client[allocation.client]

    def next_end(self) -> float:
        """Instant at which `ended` may find something, infinite when it never will."""
        return self._ends[0][0] if self._ends else math.inf

    def ended(self, now: float) -> list[tuple[Allocation, Relayed]]:
        """Return the relayed addresses whose lifetime is over; refreshed ones are put back in order."""
        found: list[tuple[Allocation, Relayed]] = []
        while self._ends and self._ends[0][0] <= now:
            end, relay = heapq.heappop(self._ends)
            allocation = self.by_relay.get(relay)
            if allocation is None:
                continue
            relayed = allocation.of_relay(relay)
            if relayed.noted_end != end:
                continue  # a later entry for an earlier end counts
            if relayed.expires_at <= now:
                relayed.noted_end = math.nan  # another entry may name the same instant
                found.append((allocation, relayed))
            else:
                self._note(relayed)
        return found

    def _note(self, relayed: Relayed) -> None:
        relayed.noted_end = relayed.expires_at
        if len(self._ends) > _MOST_STALE + 2 * len(self.by_relay):
            # a client that allocates and frees, or shortens its lifetime, again and again would fill the memory
            every = [each for allocation in self.by_client.values() for each in allocation.relayed]
            self._ends = [(each.noted_end, each.relay) for each in every if not math.isnan(each.noted_end)]
            heapq.heapify(self._ends)
        else:
            heapq.heappush(self._ends, (relayed.expires_at, relayed.relay))
