"""What passes between clients and peers: ChannelData, Send and Data (RFC 8656, 11 and 12). No I/O, no clock."""

import struct
from collections.abc import Sequence

from media.turn import address, channel_data, stun
from media.turn.address import SocketAddress
from media.turn.allocation import Allocation, Client, family_of
from media.turn.effects import Buffer, Effect, PeerRefused, ToClient, ToPeer, TurnStats
from media.turn.policy import PeerRules, Rate
from media.turn.routes import DownRoute, Routes, UpRoute
from media.turn.slots import in_memory, send_key
from media.turn.table import Table

NOTHING: tuple[Effect, ...] = ()

IPV4_BYTES, XOR_IPV4_BYTES = 4, 8
_PEER_HEAD = struct.pack("!HH", stun.XOR_PEER_ADDRESS, XOR_IPV4_BYTES)
_DATA_TYPE = stun.DATA.to_bytes(2)
_NO_TRANSACTION = bytes(12)


class Forward:
    """Decides for each packet whether it passes and where; indications are never answered."""

    def __init__(self, peers: PeerRules, table: Table, stats: TurnStats, routes: Routes) -> None:
        self._routes = routes
        self._table = table
        self._stats = stats
        self.replace_peers(peers)

    def replace_peers(self, peers: PeerRules) -> None:
        """Take new peer rules. Allocations may still have relayed addresses of before: those stay own hosts."""
        self._routes.clear()
        self._peers = peers
        relayed = (relayed_address[0] for relayed_address in self._table.by_relayed_address)
        self._own_hosts = frozenset((*map(address.host_text, peers.own | peers.advertised), *relayed))

    def channel_data(self, client: Client, datagram: memoryview, now: float) -> Sequence[Effect]:
        """Pass the data of a ChannelData message from a client on to the peer of its bind."""
        allocation = self._table.by_client.get(client)
        if allocation is None:
            return self._drop("no-allocation")
        try:
            number, data = channel_data.decode(datagram)
        except channel_data.ChannelDataError:
            return self._drop("malformed")
        bind = allocation.bind_of(number)
        if bind is None or bind.expires_at <= now:
            return self._drop("no-channel-bind")
        return self._to_peer(allocation, bind.peer_address, data, now, (in_memory(number), bind.expires_at))

    def send(self, client: Client, indication: stun.Message, now: float) -> Sequence[Effect]:
        """Pass the data of a Send indication from a client on to a peer with a permission."""
        allocation = self._table.by_client.get(client)
        if allocation is None or allocation.is_tcp:
            return self._drop("no-allocation")
        peer, data = indication.first(stun.XOR_PEER_ADDRESS), indication.first(stun.DATA)
        if peer is None or data is None or indication.unknown():
            return self._drop("malformed")
        try:
            ip, port = stun.parse_xor_address(peer, indication.transaction_id)
        except stun.StunError:
            return self._drop("malformed")
        peer_address = address.socket_address(ip, port)
        until = allocation.permitted_until(peer_address[0])
        if port == 0 or until <= now:
            return self._drop("no-permission")
        way = (send_key(peer), until) if len(peer) == XOR_IPV4_BYTES else None
        return self._to_peer(allocation, peer_address, data, now, way)

    def from_peer(self, relay: int, data: Buffer, peer_address: SocketAddress, now: float) -> Sequence[Effect]:
        """Pass a datagram that came to a relay socket on to its client.

        A bind lets its peer through as long as it lives: clients that renew their binds each 500 s and never the
        permission (aioice) would else go deaf after 300 s.
        """
        allocation = self._table.by_relay.get(relay)
        if allocation is None:
            return self._drop("no-allocation")
        bind = allocation.bind_of(peer_address)
        if bind is not None and bind.expires_at > now:
            number, until = bind.number, bind.expires_at
            head, tail = channel_data.header(number, len(data)), data
        else:
            number, until = 0, allocation.permitted_until(peer_address[0])
            if until <= now:
                return self._drop("no-permission")
            head, tail = self._data_indication(peer_address, data), b""
        if not self._may_pass(allocation.downward, len(data), now):
            return NOTHING
        self._stats.packets_to_clients += 1
        self._stats.bytes_to_clients += len(data)
        self._open_down(allocation, relay, peer_address, number, until)
        listener, client_address = allocation.client
        return (ToClient(listener, client_address, head, tail),)

    def passes(self, allocation: Allocation, size: int, now: float, *, is_upward: bool) -> bool:
        """Count bytes of a peer's TCP connection; False when they must wait."""
        rate, in_all = allocation.upward if is_upward else allocation.downward, self._routes.in_all
        if not rate.allows(size, now) or not in_all.allows(size, now):
            return False
        rate.left -= size
        in_all.left -= size
        if is_upward:
            self._stats.bytes_to_peers += size
        else:
            self._stats.bytes_to_clients += size
        return True

    def _to_peer(
        self,
        allocation: Allocation,
        peer_address: SocketAddress,
        data: Buffer,
        now: float,
        way: tuple[int, float] | None,
    ) -> Sequence[Effect]:
        """Pass data on; `way` is the key of the route and its end, where the next packets may take one."""
        relayed = allocation.of_family(family_of(peer_address[0]))
        if relayed is None:
            return self._drop("no-permission")
        target, is_own = None, peer_address[0] in self._own_hosts
        if is_own:
            target = self._table.relay_of(peer_address, is_tcp=False)
            if target is None and self._peers.own_port_refusal(peer_address[1]) is not None:
                self._drop("own-port")
                is_new = allocation.is_new_refusal("own-port")
                return (PeerRefused(relayed.relay, "own-port"),) if is_new else NOTHING
        if not self._may_pass(allocation.upward, len(data), now):
            return NOTHING
        self._stats.packets_to_peers += 1
        self._stats.bytes_to_peers += len(data)
        if target is not None:
            # Relay to relay on this server: no socket, so it works behind a NAT that does not hairpin, too.
            return self.from_peer(target, data, relayed.address, now)
        # another process does not tell when a relay of its own ends: each packet there is judged
        if way is not None and not (is_own and peer_address[1] in self._peers.sibling_ports):
            route = UpRoute(relayed.relay, peer_address, allocation.upward, min(way[1], relayed.expires_at))
            self._routes.open_up(allocation.client, way[0], route, is_own_peer=is_own)
        return (ToPeer(relayed.relay, peer_address, data),)

    def _open_down(
        self, allocation: Allocation, relay: int, peer_address: SocketAddress, number: int, until: float
    ) -> None:
        indication = b""
        if number == 0:
            ip = address.pack(peer_address[0])
            if len(ip) != IPV4_BYTES:
                return  # the XOR of IPv6 has the transaction id in it
            peer = stun.xor_address(ip, peer_address[1], _NO_TRANSACTION)
            indication = _PEER_HEAD + peer + _DATA_TYPE
        until = min(until, allocation.of_relay(relay).expires_at)
        route = DownRoute(allocation.client, number, indication, allocation.downward, until)
        self._routes.open_down(relay, peer_address, route)

    def _may_pass(self, rate: Rate, size: int, now: float) -> bool:
        if not rate.allows(size, now):
            self._drop("rate")
            return False
        if not self._routes.in_all.allows(size, now):
            self._drop("rate-in-all")
            return False
        rate.left -= size
        rate.count(1, now)
        self._routes.in_all.left -= size
        return True

    def _data_indication(self, peer_address: SocketAddress, data: Buffer) -> bytes:
        transaction_id = self._routes.transaction_id()
        peer = stun.xor_address(address.pack(peer_address[0]), peer_address[1], transaction_id)
        attributes = [(stun.XOR_PEER_ADDRESS, peer), (stun.DATA, bytes(data))]
        return stun.encode(stun.Message(stun.DATA_METHOD, stun.INDICATION, transaction_id, attributes))

    def _drop(self, reason: str) -> Sequence[Effect]:
        self._stats.drop(reason)
        return NOTHING
