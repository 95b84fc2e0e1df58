"""What may pass right now, packet by packet, without asking the rules again. No I/O, no clock.

A route is put in by the slow way, when it has let a packet pass, and is good until it is taken out: at its end, or when
anything changes for its allocation. Taking one out too early costs only the next packet the slow way.
"""

import heapq
import itertools
import math
import sys
from typing import Generic, Self, TypeVar

from media.turn.address import SocketAddress
from media.turn.allocation import Allocation, Client
from media.turn.policy import Rate
from media.turn.slots import in_memory

MOST_PER_ALLOCATION = 256
"""Routes each way; one more, and those there are begin anew."""

CLOSED = Rate(0)
CLOSED.left = -1
"""The rate of a route that was taken out: not even an empty packet passes."""

_LEAST_ENDS = 1024


Key = TypeVar("Key")


class _Route(Generic[Key]):
    """What routes of both directions have: the budget, the time until which they hold, and the dict that they are in.

    `packets` belongs to the shell: what it has taken in this drain.
    """

    __slots__ = ("_home", "_key", "packets", "rate", "until")

    def __init__(self, rate: Rate, until: float) -> None:
        self.rate = rate
        self.until = until
        self.packets: list[memoryview] = []

    def put_in(self, home: dict[Key, Self], key: Key) -> None:
        """Stand in this dict from now on."""
        self._home, self._key = home, key
        home[key] = self

    def is_in(self) -> bool:
        """Tell whether the route may be used."""
        return self._home.get(self._key) is self

    def take_out(self) -> None:
        """Let nothing pass any more, whoever still holds the route."""
        self.rate = CLOSED
        if self.is_in():
            del self._home[self._key]


class UpRoute(_Route[int]):
    """From a client to a peer by a relay socket. Routes of one client to one peer have the same `packets`."""

    __slots__ = ("peer_address", "relay")

    def __init__(self, relay: int, peer_address: SocketAddress, rate: Rate, until: float) -> None:
        super().__init__(rate, until)
        self.relay = relay
        self.peer_address = peer_address


class DownRoute(_Route[SocketAddress]):
    """From a peer to a client by a listener, as ChannelData of `number` or, where that is 0, as Data indications.

    `number` is as it stands in memory, so that it can be written at once. `indication` are the bytes of a Data
    indication from its XOR-PEER-ADDRESS to the type of its DATA. The shell's, as `packets` are, are
    `head`, the begin of an indication with `head_size` bytes of data, and `name`, the address as the kernel takes it.
    """

    __slots__ = ("client_address", "head", "head_size", "indication", "listener", "name", "number")

    def __init__(self, client: Client, number: int, indication: bytes, rate: Rate, until: float) -> None:
        super().__init__(rate, until)
        self.listener, self.client_address = client
        self.number = in_memory(number)
        self.indication = indication
        self.head, self.head_size = b"", -1
        self.name = b""


Ups = dict[int, UpRoute]
Downs = dict[SocketAddress, DownRoute]


class Routes:
    """All routes. `up` goes by listener, client and key, `down` by relay socket and peer.

    The key of a channel is its number as it stands in memory, that of a Send indication the value of its
    XOR-PEER-ADDRESS likewise; they never meet. `in_all` bounds all that is relayed. From `due_at` on `expire` must be
    called before a route is used.
    """

    def __init__(self, in_all: Rate, seed: bytes) -> None:
        self.up: dict[int, dict[SocketAddress, Ups]] = {}
        self.down: dict[int, Downs] = {}
        self.in_all = in_all
        self.due_at = math.inf
        self._own_peers: set[SocketAddress] = set()
        self._ends: list[tuple[float, int, UpRoute | DownRoute]] = []
        self._most_ends = _LEAST_ENDS
        self._order = itertools.count()
        self.next_serial = itertools.count().__next__
        self.seed = seed

    def transaction_id(self) -> bytes:
        """Return the transaction id of the next Data indication."""
        return self.seed + self.next_serial().to_bytes(8, sys.byteorder)

    def open_up(self, client: Client, key: int, route: UpRoute, *, is_own_peer: bool) -> None:
        """Let packets of a client with this key pass; `is_own_peer`: the peer is an address of this machine."""
        routes = self.up.setdefault(client[0], {}).setdefault(client[1], {})
        if len(routes) >= MOST_PER_ALLOCATION:
            _close(routes)
        for other in routes.values():
            if other.peer_address == route.peer_address:
                route.packets = other.packets  # ChannelData and Send to one peer stay in order among each other
                break
        route.put_in(routes, key)
        if is_own_peer:
            self._own_peers.add(route.peer_address)
        self._note(route)

    def open_down(self, relay: int, peer_address: SocketAddress, route: DownRoute) -> None:
        """Let packets of a peer to a relay socket pass."""
        routes = self.down.setdefault(relay, {})
        if len(routes) >= MOST_PER_ALLOCATION:
            _close(routes)
        route.put_in(routes, peer_address)
        self._note(route)

    def expire(self, now: float) -> None:
        """Take out what is over at `now`."""
        while self._ends and self._ends[0][0] <= now:
            heapq.heappop(self._ends)[2].take_out()
        self.due_at = self._ends[0][0] if self._ends else math.inf

    def close(self, allocation: Allocation) -> None:
        """Take out all routes of an allocation."""
        listener, client_address = allocation.client
        clients = self.up.get(listener)
        if clients is not None:
            ups = clients.pop(client_address, None)
            if ups is not None:
                _close(ups)
            if not clients:
                del self.up[listener]
        for relayed in allocation.relayed:
            downs = self.down.pop(relayed.relay, None)
            if downs is not None:
                _close(downs)

    def relayed_changed(self, relayed_address: SocketAddress) -> None:
        """Take note that a relay begins or ends at an address: peers there are reached in another way now."""
        if relayed_address in self._own_peers:
            self.clear()

    def clear(self) -> None:
        """Take out all routes."""
        for clients in self.up.values():
            for ups in clients.values():
                _close(ups)
        for downs in self.down.values():
            _close(downs)
        self.up.clear()
        self.down.clear()
        self._own_peers.clear()
        self._ends.clear()
        self.due_at = math.inf

    def _note(self, route: UpRoute | DownRoute) -> None:
        if len(self._ends) >= self._most_ends:
            # routes that were taken out before their end are still noted
            self._ends = [each for each in self._ends if each[2].is_in()]
            heapq.heapify(self._ends)
            self._most_ends = max(_LEAST_ENDS, 2 * len(self._ends))
        heapq.heappush(self._ends, (route.until, next(self._order), route))
        self.due_at = self._ends[0][0]


def _close(routes: Ups | Downs) -> None:
    found: list[UpRoute | DownRoute] = [*routes.values()]
    for route in found:
        route.take_out()
