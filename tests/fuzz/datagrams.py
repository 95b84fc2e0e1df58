"""UDP clients that send mutants, peers that answer with mutants, and what the relay may say to them."""

import contextlib
import random
import socket

from media.turn import channel_data, stun
from media.turn.address import SocketAddress, pack
from media.turn.credential import PASSWORD_ALGORITHMS
from tests.fuzz.mutants import Attributes, Mutator, framed, packed, signed, with_fingerprint
from tests.fuzz.target import REALM, SETTINGS, Target
from tests.media.turn.world import PASSWORD, UDP

BATCH = 16
CLIENTS = 24
MOST_BINDING = {socket.AF_INET: 32 / 20, socket.AF_INET6: 44 / 20}
MOST_CHALLENGE = 4.0
"""How much longer than the request a reply to a stranger may be. Of Binding it is the shortest that there is."""

USERS = ("one@a", "two@a", "three@b", "four@c", "five@d", "six@e", "seven@f", "eight@g", "late@a", "nobody")
REMEMBERED = 32
IPV6 = b"\x02\0\0\0"
TCP = b"\x06\0\0\0"
FORBIDDEN = (("169.254.169.254", 80), ("8.8.8.8", 53), ("0.0.0.0", 9), ("255.255.255.255", 9), ("::ffff:127.0.0.1", 9))


class Identity:
    """Who a client says that it is, and how it signs."""

    def __init__(self, mutator: Mutator) -> None:
        self.username = USERS[mutator.below(len(USERS))]
        self.is_sha256 = mutator.roll() < 0.3
        algorithm = stun.SHA256 if self.is_sha256 else stun.MD5
        password = PASSWORD if mutator.roll() < 0.95 else "wrong"
        self.key = stun.integrity_key(self.username, REALM, password, algorithm)
        self.nonce = b""
        self.offer: Attributes = []
        self.is_hashed = self.is_sha256 and mutator.roll() < 0.5

    def attributes(self) -> Attributes:
        """What a request that is to be signed carries."""
        name = (stun.USERNAME, self.username.encode())
        if self.is_hashed:
            name = (stun.USERHASH, stun.userhash(self.username, REALM))
        return [name, (stun.REALM, REALM.encode()), (stun.NONCE, self.nonce), *self.offer]

    def learn(self, reply: stun.Message) -> None:
        """Take the nonce and the algorithms of a challenge."""
        nonce = reply.first(stun.NONCE)
        if nonce is None:
            return
        self.nonce, self.offer = nonce, []
        if reply.first(stun.PASSWORD_ALGORITHMS) is not None:
            algorithm = stun.SHA256 if self.is_sha256 else stun.MD5
            self.offer = [
                (stun.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS),
                (stun.PASSWORD_ALGORITHM, bytes((0, algorithm, 0, 0))),
            ]


class Recipes:
    """Messages of one client, right or nearly so. `peers` are addresses that it may permit."""

    def __init__(self, mutator: Mutator, peers: list[SocketAddress], *, is_stream: bool = False) -> None:
        self._mutator = mutator
        self._is_stream = is_stream
        self._identity = Identity(mutator)
        self._peers = peers
        self._serial = mutator.chance.randbytes(4)
        self._count = 0
        self._recent: list[bytes] = []
        self._has_allocation = False
        self.is_framed = False  # only requests that a stream can be cut at, whatever is in them

    def learn(self, reply: stun.Message) -> None:
        """Take what the relay said: a nonce, an allocation or its end, a connection."""
        connection = reply.first(stun.CONNECTION_ID)
        if connection is not None:
            self._mutator.connections.append(connection)
            del self._mutator.connections[:-REMEMBERED]
        if not reply.is_signed:
            self._identity.learn(reply)
        elif reply.method in (stun.ALLOCATE, stun.REFRESH):
            self._has_allocation = reply.kind == stun.SUCCESS and reply.first(stun.LIFETIME) != bytes(4)
            ticket = reply.first(stun.MOBILITY_TICKET)
            if ticket is not None:
                self._mutator.tickets.append(ticket)
                del self._mutator.tickets[:-REMEMBERED]

    def message(self) -> bytes:
        """Make the next one."""
        mutator = self._mutator
        roll = mutator.roll()
        if self.is_framed:
            return self._request()
        if roll < 0.08:
            return mutator.noise()
        if roll < 0.23:
            number = 0x4000 + mutator.below(6)
            data = mutator.chance.randbytes(mutator.below(40 if roll < 0.22 else 1400))
            message = channel_data.header(number, len(data)) + data
            return message if roll < 0.16 else mutator.change(message)
        if roll < 0.35:
            return self._stranger()
        if roll < 0.45:
            return self._indication()
        if roll < 0.75 and self._recent:
            return self._again()
        return self._request()

    def _again(self) -> bytes:
        """One of the last requests as it was, or changed after it was signed."""
        message = self._recent[self._mutator.below(len(self._recent))]
        return message if self._mutator.roll() < 0.2 else self._mutator.change(message)

    def _stranger(self) -> bytes:
        method = (stun.BINDING, stun.BINDING, stun.ALLOCATE, stun.REFRESH, 0x005, 0xFFF)[self._mutator.below(6)]
        attributes = [] if method == stun.BINDING else self._attributes(stun.ALLOCATE)
        if self._mutator.roll() < 0.4:
            attributes = self._mutator.change_attributes(attributes)
        message = framed(method, stun.REQUEST, self._transaction(), packed(attributes))
        if self._mutator.roll() < 0.2:
            message = with_fingerprint(message)
        return message if self._mutator.roll() < 0.3 else self._mutator.change(message)

    def _indication(self) -> bytes:
        attributes = [self._peer(), (stun.DATA, self._mutator.chance.randbytes(self._mutator.below(60)))]
        if self._mutator.roll() < 0.4:
            attributes = self._mutator.change_attributes(attributes)
        message = framed(stun.SEND, stun.INDICATION, bytes(12), packed(attributes))
        return message if self._mutator.roll() < 0.5 else self._mutator.change(message)

    def _request(self) -> bytes:
        mutator, identity = self._mutator, self._identity
        method = self._method()
        attributes = [*self._attributes(method), *identity.attributes()]
        roll = mutator.roll()
        if roll < 0.45:
            # what stands beside the credentials is wrong, or they themselves: signed all the same
            attributes = mutator.change_attributes(attributes)
        message = signed(method, self._transaction(), packed(attributes), identity.key, is_sha256=identity.is_sha256)
        if mutator.roll() < 0.2:
            message = with_fingerprint(message)
        if len(self._recent) < REMEMBERED:
            self._recent.append(message)
        else:
            self._recent[mutator.below(REMEMBERED)] = message
        return message

    def _method(self) -> int:
        if not self._has_allocation and self._mutator.roll() < 0.6:
            return stun.ALLOCATE if self._mutator.roll() < 0.8 else stun.REFRESH
        methods = (stun.ALLOCATE, stun.REFRESH, stun.CREATE_PERMISSION, stun.CREATE_PERMISSION, stun.CHANNEL_BIND)
        if self._is_stream:
            methods += (stun.CONNECT, stun.CONNECT, stun.CONNECTION_BIND)
        return methods[self._mutator.below(len(methods))]

    def _attributes(self, method: int) -> Attributes:
        mutator = self._mutator
        if method == stun.ALLOCATE:
            extra: Attributes = [
                (stun.EVEN_PORT, b"\x80"),
                (stun.EVEN_PORT, b"\0"),
                (stun.DONT_FRAGMENT, b""),
                (stun.REQUESTED_ADDRESS_FAMILY, IPV6),
                (stun.ADDITIONAL_ADDRESS_FAMILY, IPV6),
                (stun.RESERVATION_TOKEN, bytes(8)),
                (stun.LIFETIME, (3600).to_bytes(4)),
                (stun.MOBILITY_TICKET, b""),
            ]
            chosen = [each for each in extra if mutator.roll() < 0.12]
            is_tcp = self._is_stream and mutator.roll() < 0.5
            return [(stun.REQUESTED_TRANSPORT, TCP if is_tcp else UDP), *([] if is_tcp else chosen)]
        if method == stun.REFRESH:
            if mutator.roll() < 0.1:
                return [(stun.LIFETIME, bytes(4))]
            refresh: Attributes = [(stun.LIFETIME, (700).to_bytes(4))]
            if mutator.roll() < 0.2:
                refresh.append((stun.REQUESTED_ADDRESS_FAMILY, IPV6))
            if mutator.tickets and mutator.roll() < 0.3:
                refresh.append((stun.MOBILITY_TICKET, mutator.tickets[mutator.below(len(mutator.tickets))]))
            return refresh
        if method == stun.CONNECT:
            return [self._peer()]
        if method == stun.CONNECTION_BIND:
            known = mutator.connections or [bytes(4)]
            return [(stun.CONNECTION_ID, known[mutator.below(len(known))])]
        if method == stun.CREATE_PERMISSION:
            return [self._peer() for _ in range(1 + mutator.below(3))]
        return [(stun.CHANNEL_NUMBER, (0x4000 + mutator.below(6)).to_bytes(2) + bytes(2)), self._peer()]

    def _peer(self) -> tuple[int, bytes]:
        mutator = self._mutator
        known = self._peers if mutator.roll() < 0.8 else FORBIDDEN
        host, port = known[mutator.below(len(known))][:2]
        # most are meant for the transaction that comes next
        transaction_id = self._serial + (self._count + 1).to_bytes(8) if mutator.roll() < 0.95 else bytes(12)
        return stun.XOR_PEER_ADDRESS, stun.xor_address(pack(host), port, transaction_id)

    def _transaction(self) -> bytes:
        self._count += 1
        return self._serial + self._count.to_bytes(8)


class UdpClient:
    """A client on a socket of its own; it knows what it asked."""

    def __init__(self, mutator: Mutator, host: str, port: int, peers: list[SocketAddress]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.handle = socket.socket(family, socket.SOCK_DGRAM)
        self.handle.setblocking(False)
        self.handle.bind((host, 0))
        self.handle.connect((host, port))
        self._recipes = Recipes(mutator, peers)
        self._asked: dict[bytes, int] = {}
        self._sent = 0

    def send(self) -> None:
        """Send one batch."""
        self._asked.clear()
        for _ in range(BATCH):
            message = self._recipes.message()
            identifier = message[8:20]
            self._asked[identifier] = max(len(message), self._asked.get(identifier, 0))
            self.handle.send(message)
        self._sent = BATCH

    def receive(self, target: Target) -> None:
        """Look at all that came."""
        replies = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                replies += self._look(self.handle.recv(65536), target)
        assert replies <= self._sent
        target.counts["replies"] += replies

    def _look(self, datagram: bytes, target: Target) -> int:
        if datagram[0] >= 0x40:
            channel_data.decode(memoryview(datagram))
            target.counts["channel data to clients"] += 1
            return 0
        reply = stun.decode(datagram)
        if reply.kind == stun.INDICATION:
            assert reply.method == stun.DATA_METHOD
            target.counts["indications to clients"] += 1
            return 0
        asked = self._asked[reply.transaction_id]
        if not reply.is_signed:
            most = MOST_BINDING[self.handle.family] if reply.method == stun.BINDING else MOST_CHALLENGE
            assert len(datagram) <= most * asked, (asked, datagram.hex())
        self._recipes.learn(reply)
        target.counts["signed replies" if reply.is_signed else "unsigned replies"] += 1
        return 1


class Datagrams:
    """All clients and their peers."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._mutator = Mutator(random.Random(seed))
        self._peers = [_bound(host) for host in ("127.0.0.1", "::1")]
        self._addresses: list[SocketAddress] = [handle.getsockname()[:2] for handle in self._peers]
        first = SETTINGS.min_port
        self._addresses += [("127.0.0.1", first), ("127.0.0.1", first + 1), ("::1", first)]
        self._clients = [self._client() for _ in range(CLIENTS)]

    async def run(self, count: int) -> None:
        """Send at least so many datagrams."""
        mutator, target = self._mutator, self._target
        for _ in range(-(-count // BATCH)):
            at = mutator.below(CLIENTS)
            if mutator.roll() < 0.01:
                self._clients[at].handle.close()
                self._clients[at] = self._client()
            client = self._clients[at]
            client.send()
            if mutator.roll() < 0.3:
                self._answer()
            await target.pass_time(0.25 if mutator.roll() < 0.999 else 400.0)
            client.receive(target)
            target.counts["datagrams"] += BATCH

    def close(self) -> None:
        """Close all sockets."""
        for handle in (*self._peers, *(client.handle for client in self._clients)):
            handle.close()

    def _client(self) -> UdpClient:
        host = "127.0.0.1" if self._mutator.roll() < 0.8 else "::1"
        return UdpClient(self._mutator, host, self._target.port, self._addresses)

    def _answer(self) -> None:
        """Let peers take what came, and send mutants to relayed addresses."""
        for peer in self._peers:
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, source = peer.recvfrom(65536)
                    self._target.counts["datagrams to peers"] += 1
                    if self._mutator.roll() < 0.5:
                        peer.sendto(self._mutator.change(data), source)
        for relayed in list(self._target.relay._server._table.by_relayed_address)[:2]:
            peer = self._peers[":" in relayed[0]]
            with contextlib.suppress(OSError):
                peer.sendto(self._mutator.noise(), relayed)


def _bound(host: str) -> socket.socket:
    handle = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    handle.setblocking(False)
    handle.bind((host, 0))
    return handle
