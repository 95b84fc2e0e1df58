"""What passes between clients and peers: ChannelData, Send and Data (RFC 8656, 11 and 12). No I/O, no clock."""

from collections.abc import Sequence

from media.turn import address, channel_data, stun
from media.turn.address import SocketAddress
from media.turn.allocation import Allocation, Client, family_of
from media.turn.effects import Buffer, Effect, PeerRefused, ToClient, ToPeer, TurnStats
from media.turn.policy import PeerRules, Rate
from media.turn.table import Table

NOTHING: tuple[Effect, ...] = ()


class Forward:
    """Decides for each packet whether it passes and where; indications are never answered."""

    def __init__(self, peers: PeerRules, table: Table, stats: TurnStats, seed: bytes, in_all: Rate) -> None:
        self._in_all = in_all
        self._table = table
        self._stats = stats
        self._seed = seed[:4]
        self._serial = 0
        self.replace_peers(peers)

    def replace_peers(self, peers: PeerRules) -> None:
        """Take new peer rules. Allocations may still have relayed addresses of before: those stay own hosts."""
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
        return self._to_peer(allocation, bind.peer_address, data, now)

    def send(self, client: Client, indication: stun.Message, now: float) -> Sequence[Effect]:
        """Pass the data of a Send indication from a client on to a peer with a permission."""
        allocation = self._table.by_client.get(client)
        if allocation is None:
            return self._drop("no-allocation")
        peer, data = indication.first(stun.XOR_PEER_ADDRESS), indication.first(stun.DATA)
        if peer is None or data is None or indication.unknown():
            return self._drop("malformed")
        try:
            ip, port = stun.parse_xor_address(peer, indication.transaction_id)
        except stun.StunError:
            return self._drop("malformed")
        peer_address = address.socket_address(ip, port)
        if port == 0 or not allocation.has_permission(peer_address[0], now):
            return self._drop("no-permission")
        return self._to_peer(allocation, peer_address, data, now)

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
            head = channel_data.header(bind.number, len(data))
            tail = data
        elif allocation.has_permission(peer_address[0], now):
            head, tail = self._data_indication(peer_address, data), b""
        else:
            return self._drop("no-permission")
        if not allocation.downward.take(len(data), now):
            return self._drop("rate")
        if not self._in_all.take(len(data), now):
            return self._drop("rate-in-all")
        self._stats.packets_to_clients += 1
        self._stats.bytes_to_clients += len(data)
        allocation.usage.bytes_to_clients += len(data)
        listener, client_address = allocation.client
        return (ToClient(listener, client_address, head, tail),)

    def _to_peer(
        self, allocation: Allocation, peer_address: SocketAddress, data: Buffer, now: float
    ) -> Sequence[Effect]:
        relayed = allocation.of_family(family_of(peer_address[0]))
        if relayed is None:
            return self._drop("no-permission")
        target = None
        if peer_address[0] in self._own_hosts:
            target = self._table.by_relayed_address.get(peer_address)
            if target is None and self._peers.own_port_refusal(peer_address[1]) is not None:
                self._drop("own-port")
                is_new = allocation.is_new_refusal("own-port")
                return (PeerRefused(relayed.relay, "own-port"),) if is_new else NOTHING
        size = len(data)
        if not allocation.upward.take(size, now):
            return self._drop("rate")
        if not self._in_all.take(size, now):
            return self._drop("rate-in-all")
        stats = self._stats
        stats.packets_to_peers += 1
        stats.bytes_to_peers += size
        allocation.usage.bytes_to_peers += size
        if target is not None:
            # Relay to relay on this server: no socket, so it works behind a NAT that does not hairpin, too.
            return self.from_peer(target, data, relayed.address, now)
        return (ToPeer(relayed.relay, peer_address, data),)

    def _data_indication(self, peer_address: SocketAddress, data: Buffer) -> bytes:
        self._serial += 1
        transaction_id = self._seed + self._serial.to_bytes(8)
        peer = stun.xor_address(address.pack(peer_address[0]), peer_address[1], transaction_id)
        attributes = [(stun.XOR_PEER_ADDRESS, peer), (stun.DATA, bytes(data))]
        return stun.encode(stun.Message(stun.DATA_METHOD, stun.INDICATION, transaction_id, attributes))

    def _drop(self, reason: str) -> Sequence[Effect]:
        self._stats.drop(reason)
        return NOTHING
