"""A TURN core with a clock by hand, its performed effects, and clients that speak to it."""

import itertools

import msgspec

from media.turn import address, channel_data, stun
from media.turn.address import IPV4, IPV6, SocketAddress, pack
from media.turn.credential import PASSWORD_ALGORITHMS, Keys, UsernameFor
from media.turn.effects import CloseRelay, Effect, OpenRelay, PeerRefused, ToClient, ToPeer, TurnStats
from media.turn.policy import PeerRules
from media.turn.rules import ServerRules
from media.turn.server import Server

REALM = "example.org"
PASSWORD = "secret"
RELAY_HOST = "198.51.100.7"
RELAY_HOST_V6 = "2600::7"
PEER = ("8.8.8.8", 5000)
UDP = bytes((17, 0, 0, 0))

RULES = ServerRules(
    realm=REALM,
    relay_ips={IPV4: pack(RELAY_HOST), IPV6: pack(RELAY_HOST_V6)},
    first_port=50000,
    last_port=50099,
    replies_per_s=1e9,
    replies_burst=1e9,
)
PEERS = PeerRules(
    own=frozenset(map(pack, (RELAY_HOST, RELAY_HOST_V6, "127.0.0.1", "::1"))),
    advertised=frozenset(map(pack, (RELAY_HOST, RELAY_HOST_V6))),
    listener_ports=frozenset((3478,)),
)

Attributes = list[tuple[int, bytes]]


class World:
    """Server, clock and what left the server. `expires_at` of every credential is `credential_end`."""

    def __init__(
        self, rules: ServerRules = RULES, peers: PeerRules = PEERS, username_for: UsernameFor | None = None
    ) -> None:
        self.now = 1000.0
        self.credential_end = 1e9
        self.stats = TurnStats()
        self.server = Server(rules, peers, self.key_for, bytes(32), self.stats, username_for)
        self.to_clients: list[tuple[SocketAddress, bytes]] = []
        self.to_peers: list[tuple[int, SocketAddress, bytes]] = []
        self.refusals: list[tuple[int, str]] = []
        self.on_peers: list[Effect] = []  # what is to be done with their TCP connections
        self.relays: dict[int, OpenRelay] = {}
        self.taken_ports: set[int] = set()
        self.taken: set[tuple[int, int]] = set()  # of one family
        self.holds_opening = False
        self.transactions = itertools.count(1)

    def key_for(self, username: str) -> Keys | None:
        """Usernames are `NAME`, `NAME@QUOTA` or `NAME@QUOTA@HOLDER@...`; `nobody` is unknown."""
        if username == "nobody":
            return None
        _, *rest = username.encode().split(b"@")
        quota_key, holders = rest[0] if rest else b"", tuple(rest[1:])
        return Keys(("old " + PASSWORD, PASSWORD), quota_key, self.credential_end, holders)

    def receive(self, datagram: bytes, source: SocketAddress, listener: int = 0) -> list[bytes]:
        """Hand a datagram of a client in; return what its own address got."""
        before = len(self.to_clients)
        self.perform(self.server.receive(listener, memoryview(datagram), source, self.now))
        return [data for destination, data in self.to_clients[before:] if destination == source]

    def from_peer(self, relay: int, data: bytes, source: SocketAddress) -> None:
        """Hand a datagram of a peer in."""
        self.perform(self.server.relayed(relay, memoryview(data), source, self.now))

    def pass_time(self, seconds: float) -> None:
        """Let time pass and the timer ring."""
        self.now += seconds
        self.perform(self.server.expire(self.now))

    def perform(self, effects: object) -> None:
        """Do what the core asks for."""
        assert isinstance(effects, list | tuple)
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case ToClient():
                self.to_clients.append((effect.client_address, effect.head + bytes(effect.data)))
            case ToPeer():
                assert effect.relay in self.relays
                self.to_peers.append((effect.relay, effect.peer_address, bytes(effect.data)))
            case OpenRelay():
                if self.holds_opening:
                    self.relays[effect.relay] = effect
                    return
                is_open = effect.port not in self.taken_ports and (effect.family, effect.port) not in self.taken
                if is_open:
                    assert (effect.family, effect.port) not in {
                        (each.family, each.port) for each in self.relays.values()
                    }
                    self.relays[effect.relay] = effect
                self.perform(self.server.relay_opened(effect.relay, is_open, self.now))
            case PeerRefused():
                self.refusals.append((effect.relay, effect.reason))
            case CloseRelay():
                del self.relays[effect.relay]
            case _:
                self.on_peers.append(effect)


class Caller:
    """A TURN client that does the handshake by itself; `request` returns the decoded reply."""

    def __init__(
        self, world: World, host: str = "203.0.113.5", port: int = 40000, username: str = "user", listener: int = 0
    ) -> None:
        self.world = world
        self.source = address.socket_address(pack(host), port)
        self.username = username
        self.listener = listener
        self.key = stun.integrity_key(username, REALM, PASSWORD)
        self.identity = (stun.USERNAME, username.encode())
        self.offer: Attributes = []
        self.is_sha256 = False
        self.nonce = b""
        self.last_datagram = b""
        self.last_reply = b""

    def use_sha256(self, *, is_hashed: bool = False) -> None:
        """Sign as RFC 8489 has it, with USERHASH if so told."""
        self.key = stun.integrity_key(self.username, REALM, PASSWORD, stun.SHA256)
        self.offer = [
            (stun.PASSWORD_ALGORITHM, bytes((0, stun.SHA256, 0, 0))),
            (stun.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS),
        ]
        self.is_sha256 = True
        if is_hashed:
            self.identity = (stun.USERHASH, stun.userhash(self.username, REALM))

    def challenge(self) -> None:
        """Fetch a nonce."""
        nonce = self.send(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)], is_signed=False).first(stun.NONCE)
        assert nonce is not None
        self.nonce = nonce

    def message(self, method: int, attributes: Attributes, transaction: int | None = None) -> stun.Message:
        """Make a request that is not signed yet."""
        number = next(self.world.transactions) if transaction is None else transaction
        return stun.Message(method, stun.REQUEST, number.to_bytes(12), attributes)

    def send(
        self, method: int, attributes: Attributes, *, is_signed: bool = True, transaction: int | None = None
    ) -> stun.Message:
        """Send a request and return the reply; it must be exactly one, with integrity unless it is a challenge."""
        replies = self.send_raw(self.build(method, attributes, is_signed=is_signed, transaction=transaction))
        assert len(replies) == 1
        self.last_reply = replies[0]
        return stun.decode(replies[0])

    def build(
        self, method: int, attributes: Attributes, *, is_signed: bool = True, transaction: int | None = None
    ) -> bytes:
        """Make the datagram of a request."""
        message = self.message(method, list(attributes), transaction)
        if is_signed:
            message.attributes += [
                self.identity,
                (stun.REALM, REALM.encode()),
                (stun.NONCE, self.nonce),
                *self.offer,
            ]
        return stun.encode(message, self.key if is_signed else None, is_sha256=self.is_sha256)

    def send_raw(self, datagram: bytes) -> list[bytes]:
        """Send any bytes and return what came back."""
        self.last_datagram = datagram
        return self.world.receive(datagram, self.source, self.listener)

    def allocate(self, attributes: Attributes | None = None) -> stun.Message:
        """Allocate with all that is needed, and the attributes on top."""
        if not self.nonce:
            self.challenge()
        return self.send(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), *(attributes or [])])

    @property
    def relay(self) -> int:
        """Number of this client's relay socket."""
        return self.world.server._table.by_client[(self.listener, self.source)].relay

    def peer(self, peer_address: tuple[str, int] = PEER, transaction: int = 0) -> tuple[int, bytes]:
        """Make an XOR-PEER-ADDRESS for a request that is sent with the same transaction number."""
        value = stun.xor_address(pack(peer_address[0]), peer_address[1], transaction.to_bytes(12))
        return stun.XOR_PEER_ADDRESS, value

    def permit(self, *hosts: str) -> stun.Message:
        """Create permissions."""
        number = next(self.world.transactions)
        peers = [self.peer((host, 0), number) for host in hosts]
        return self.send(stun.CREATE_PERMISSION, peers, transaction=number)

    def bind(self, channel_number: int, peer_address: tuple[str, int] = PEER) -> stun.Message:
        """Bind a channel."""
        number = next(self.world.transactions)
        attributes = [(stun.CHANNEL_NUMBER, channel_number.to_bytes(2) + bytes(2)), self.peer(peer_address, number)]
        return self.send(stun.CHANNEL_BIND, attributes, transaction=number)

    def refresh(self, lifetime_s: int | None = None) -> stun.Message:
        """Refresh the allocation."""
        return self.send(stun.REFRESH, [] if lifetime_s is None else [(stun.LIFETIME, lifetime_s.to_bytes(4))])

    def indicate(self, data: bytes, peer_address: tuple[str, int] = PEER, extra: Attributes | None = None) -> None:
        """Send a Send indication; it must stay unanswered."""
        attributes = [self.peer(peer_address, 7), (stun.DATA, data), *(extra or [])]
        message = stun.Message(stun.SEND, stun.INDICATION, (7).to_bytes(12), attributes)
        assert self.send_raw(stun.encode(message)) == []

    def channel_data(self, channel_number: int, data: bytes) -> list[bytes]:
        """Send a ChannelData message."""
        return self.send_raw(channel_data.header(channel_number, len(data)) + data)


def code_of(reply: stun.Message) -> int:
    """Code of an error reply, 0 of a success."""
    value = reply.first(stun.ERROR_CODE)
    assert (value is None) == (reply.kind == stun.SUCCESS)
    return 0 if value is None else stun.parse_error_code(value)


def address_of(reply: stun.Message, attribute: int) -> tuple[str, int]:
    """Host and port of an XOR address in a reply."""
    value = reply.first(attribute)
    assert value is not None
    ip, port = stun.parse_xor_address(value, reply.transaction_id)
    return address.host_text(ip), port


def with_rules(**changes: object) -> World:
    """Make a world with other rules than usual."""
    return World(msgspec.structs.replace(RULES, **changes))
