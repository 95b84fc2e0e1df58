"""The rules of TCP connections between relayed addresses and peers (RFC 6062). No I/O, no clock.

A connection waits to be opened or bound; once it is bound, bytes pass raw and the shell alone knows it.
"""

import math
from collections.abc import Container, Sequence

import msgspec

from media.turn import address, replies, stun
from media.turn.address import SocketAddress
from media.turn.allocate import RequestError, first_values
from media.turn.allocation import Allocation, Client, family_of
from media.turn.credential import Account
from media.turn.effects import ClosePeer, ConnectPeer, Effect, JoinPeer, ToClient, TurnStats
from media.turn.requests import Requests
from media.turn.table import Table

WAIT_S = 30.0
"""How long a connection may take to open, and then to be bound (RFC 6062, 5.2 to 5.4)."""

MOST_PER_ALLOCATION, MOST_IN_ALL = 64, 4096

_LENGTHS = {stun.CONNECTION_ID: 4}


class PeerConnection(msgspec.Struct):
    """A connection of an allocation; its `deadline` is infinite once it is bound.

    `request` is the Connect that waits for it to open.
    """

    relay: int
    account: Account
    peer_address: SocketAddress
    deadline: float
    request: stun.Message | None = None


class Connections:
    """All connections of this process by number, which is their CONNECTION-ID.

    `streams` are the numbers of the listeners that stand for TCP or TLS connections of clients.
    """

    def __init__(self, requests: Requests, table: Table, stats: TurnStats, seed: bytes) -> None:
        self.streams: Container[int] = frozenset()
        self._requests = requests
        self._table = table
        self._stats = stats
        self._last = int.from_bytes(seed[:4])
        self._by_number: dict[int, PeerConnection] = {}
        self._by_peer: dict[int, dict[SocketAddress, int]] = {}

    def connect(self, allocation: Allocation, request: stun.Message, account: Account, now: float) -> Effect:
        """Take a Connect request.

        Raises: RequestError (400, 403, 437, 443, 446, 508); StunError for a malformed attribute, which is a 400.
        """
        # RFC 6062, 5.2
        if not allocation.is_tcp:
            raise RequestError(437)
        peer_address = self._requests.connectable(allocation, request)
        relayed = allocation.of_family(family_of(peer_address[0]))
        relay = allocation.relay if relayed is None else relayed.relay
        peers = self._by_peer.get(relay, {})
        if peer_address in peers:
            raise RequestError(446)
        if self._is_full(peers):
            raise RequestError(508, refusal="connections")
        number = self._add(PeerConnection(relay, account, peer_address, now + WAIT_S, request))
        return ConnectPeer(relay, number, peer_address)

    def connected(self, number: int, is_open: bool, now: float) -> Sequence[Effect]:
        """Take the result of ConnectPeer."""
        connection = self._by_number.get(number)
        if connection is None or connection.request is None:
            return (ClosePeer(number),)
        client = self._table.by_relay[connection.relay].client
        request, connection.request = connection.request, None
        if not is_open:
            self.closed(number)
            return (replies.failure(client, request, RequestError(447), connection.account),)
        connection.deadline = now + WAIT_S
        attributes = [(stun.CONNECTION_ID, number.to_bytes(4))]
        return (replies.success(client, request, attributes, connection.account),)

    def attempted(self, relay: int, peer_address: SocketAddress, now: float) -> tuple[int, Sequence[Effect]]:
        """Take a connection that a peer opened; return its number, 0 to refuse it."""
        allocation = self._table.by_relay.get(relay)
        # RFC 6062, 5.3: only with a permission
        if allocation is None or not allocation.has_permission(peer_address[0], now):
            self._stats.drop("no-permission")
            return 0, ()
        peers = self._by_peer.get(relay, {})
        if peer_address in peers or self._is_full(peers):
            self._stats.drop("connections")
            return 0, ()
        number = self._add(PeerConnection(relay, allocation.account, peer_address, now + WAIT_S))
        transaction_id = number.to_bytes(4) + bytes(8)
        peer = stun.xor_address(address.pack(peer_address[0]), peer_address[1], transaction_id)
        attributes = [(stun.CONNECTION_ID, number.to_bytes(4)), (stun.XOR_PEER_ADDRESS, peer)]
        indication = stun.Message(stun.CONNECTION_ATTEMPT, stun.INDICATION, transaction_id, attributes)
        return number, (ToClient(*allocation.client, b"", stun.encode(indication)),)

    def bind(self, client: Client, request: stun.Message, account: Account, now: float) -> Sequence[Effect]:
        """Take a ConnectionBind request: the client's connection becomes the other half of the peer's.

        Raises: RequestError 400 for a connection that is not waiting for this; StunError for a malformed attribute.
        """
        first_values(request, _LENGTHS)
        number, connection = self._named(request)
        # RFC 6062, 5.4
        if client[0] not in self.streams or client in self._table.by_client:
            raise RequestError(400)
        if connection is None or connection.request is not None or connection.deadline == math.inf:
            raise RequestError(400)
        if connection.account.username != account.username:
            raise RequestError(441)
        connection.deadline = math.inf
        return replies.success(client, request, [], account), JoinPeer(client[0], number)

    def owner(self, request: stun.Message) -> Allocation | None:
        """Return the allocation whose connection a ConnectionBind names."""
        return self.allocation_of(self._named(request)[0])

    def _named(self, request: stun.Message) -> tuple[int, PeerConnection | None]:
        number = int.from_bytes(request.first(stun.CONNECTION_ID) or b"")
        return number, self._by_number.get(number)

    def closed(self, number: int) -> None:
        """Forget a connection that the shell closed."""
        connection = self._by_number.pop(number, None)
        if connection is None:
            return
        peers = self._by_peer[connection.relay]
        del peers[connection.peer_address]
        if not peers:
            del self._by_peer[connection.relay]

    def allocation_of(self, number: int) -> Allocation | None:
        """Return the allocation to which a connection belongs."""
        connection = self._by_number.get(number)
        return None if connection is None else self._table.by_relay.get(connection.relay)

    def next_deadline(self) -> float | None:
        """Instant at which `expire` has something to do, None when it never will."""
        first = min((connection.deadline for connection in self._by_number.values()), default=math.inf)
        return None if first == math.inf else first

    def expire(self, now: float) -> Sequence[Effect]:
        """Close what was not opened or bound in time."""
        effects: list[Effect] = []
        for number, connection in [each for each in self._by_number.items() if each[1].deadline <= now]:
            if connection.request is not None:
                effects += self.connected(number, False, now)
            else:
                self.closed(number)
            effects.append(ClosePeer(number))
        return effects

    def _is_full(self, peers: dict[SocketAddress, int]) -> bool:
        return len(peers) >= MOST_PER_ALLOCATION or len(self._by_number) >= MOST_IN_ALL

    def _add(self, connection: PeerConnection) -> int:
        self._last = self._last % 0xFFFFFFFF + 1  # never 0
        while self._last in self._by_number:
            self._last = self._last % 0xFFFFFFFF + 1
        self._by_number[self._last] = connection
        self._by_peer.setdefault(connection.relay, {})[connection.peer_address] = self._last
        return self._last
