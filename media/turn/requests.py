"""The rules of Refresh, CreatePermission and ChannelBind on a live allocation (RFC 8656, 8 to 12). No I/O, no clock."""

import msgspec

from media.turn import address, stun
from media.turn.address import SocketAddress
from media.turn.allocate import RequestError, first_values, requested_lifetime
from media.turn.allocation import Allocation
from media.turn.channel_data import FIRST_NUMBER
from media.turn.effects import TurnStats
from media.turn.policy import PeerRules
from media.turn.replies import Attributes
from media.turn.table import Table

_REFRESH_LENGTHS = {stun.REQUESTED_ADDRESS_FAMILY: 4, stun.LIFETIME: 4}
_BIND_LENGTHS = {stun.CHANNEL_NUMBER: 4}


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """The longest lifetime in seconds and the last channel number that may be bound."""

    max_lifetime_s: int
    last_channel_number: int


class Requests:
    """Changes an allocation as its owner asks, or raises the error to answer with.

    Every method may raise RequestError, and StunError for a malformed attribute, which is a 400.
    """

    def __init__(self, bounds: Bounds, peers: PeerRules, table: Table, stats: TurnStats) -> None:
        self.peers = peers
        self._bounds = bounds
        self._table = table
        self._stats = stats

    def refresh(self, allocation: Allocation, request: stun.Message, now: float) -> Attributes:
        """Extend the allocation, or what it has of one family; a lifetime of 0 lets it end `now`."""
        values = first_values(request, _REFRESH_LENGTHS)
        family = values.get(stun.REQUESTED_ADDRESS_FAMILY)
        # RFC 8656, 8.1: without the attribute the request is for all that the allocation has
        meant = [each for each in allocation.relayed if family is None or each.family == family[0]]
        if not meant:
            raise RequestError(443)  # RFC 8656, 8.2
        lifetime_s = requested_lifetime(values, self._bounds.max_lifetime_s)
        for relayed in meant:
            relayed.expires_at = now + lifetime_s
        return [(stun.LIFETIME, lifetime_s.to_bytes(4))]

    def create_permission(self, allocation: Allocation, request: stun.Message, now: float) -> Attributes:
        """Permit all hosts that are named, or none."""
        values = request.every(stun.XOR_PEER_ADDRESS)
        if not values:
            raise RequestError(400)
        ips = [stun.parse_xor_address(value, request.transaction_id)[0] for value in values]
        for ip in ips:
            self._check(allocation, ip)
        if not allocation.permit([address.host_text(ip) for ip in ips], now):
            raise RequestError(508)
        return []

    def bind_channel(self, allocation: Allocation, request: stun.Message, now: float) -> Attributes:
        """Bind a channel number to a peer address, or renew the bind."""
        values = first_values(request, _BIND_LENGTHS)
        number, peer = values.get(stun.CHANNEL_NUMBER), values.get(stun.XOR_PEER_ADDRESS)
        if number is None or peer is None:
            raise RequestError(400)
        channel_number = int.from_bytes(number[:2])
        if not FIRST_NUMBER <= channel_number <= self._bounds.last_channel_number:
            raise RequestError(400)
        if allocation.is_tcp:
            raise RequestError(403)  # no datagrams pass there
        peer_address = self._peer_address(allocation, peer, request.transaction_id)
        # RFC 8656, 12.2: a number or a peer that is bound otherwise -> 400
        if not allocation.can_bind(channel_number, peer_address, now):
            raise RequestError(400)
        if not allocation.bind(channel_number, peer_address, now):
            raise RequestError(508)
        return []

    def connectable(self, allocation: Allocation, request: stun.Message) -> SocketAddress:
        """Return the peer address of a Connect request, once the relay may connect to it (RFC 6062, 5.2)."""
        peer = request.first(stun.XOR_PEER_ADDRESS)
        if peer is None:
            raise RequestError(400)
        return self._peer_address(allocation, peer, request.transaction_id)

    def _peer_address(self, allocation: Allocation, value: bytes, transaction_id: bytes) -> SocketAddress:
        ip, port = stun.parse_xor_address(value, transaction_id)
        self._check(allocation, ip)
        peer_address = address.socket_address(ip, port)
        # the port of a relay is ours by one transport alone: by the other anybody may have it
        is_live_relay = self._table.relay_of(peer_address, is_tcp=allocation.is_tcp) is not None
        self._refuse(self.peers.port_refusal(ip, port, is_live_relay=is_live_relay))
        return peer_address

    def _check(self, allocation: Allocation, ip: bytes) -> None:
        # RFC 8656, 10.2 and 12.2: a family without a relayed address -> 443, a forbidden peer -> 403
        if allocation.of_family(address.family(ip)) is None:
            raise RequestError(443)
        self._refuse(self.peers.refusal(ip))

    def _refuse(self, reason: str | None) -> None:
        if reason is not None:
            self._stats.refused_peers[reason] = self._stats.refused_peers.get(reason, 0) + 1
            raise RequestError(403, refusal=reason)
