"""DTLS sessions with a clock by hand, and clients whose datagrams the test carries."""

from pathlib import Path

from OpenSSL import SSL

from media.relay.certificate import CertificatePair
from media.relay.doors import Doors
from media.relay.dtls import Parts, Sessions
from media.turn import dtls_records
from media.turn.address import SocketAddress
from media.turn.admission import Admission, StreamBounds
from media.turn.effects import TurnStats
from tests import certificates

MTU = 1200
SOURCE = ("192.0.2.1", 4000)


def certificate_pair(folder: Path) -> CertificatePair:
    files = certificates.made(folder)
    return CertificatePair(files.pair.certificate, files.pair.key)


class DtlsClient:
    """One client. `received` is the plaintext that came, `is_over` that the server said goodbye."""

    def __init__(self, mtu: int = MTU, protocols: tuple[bytes, ...] = (), ciphers: bytes = b"ECDHE+AESGCM") -> None:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cipher_list(ciphers)
        if protocols:
            context.set_alpn_protos(list(protocols))
        self.connection = SSL.Connection(context)
        self.connection.set_connect_state()
        self.connection.set_ciphertext_mtu(mtu)
        self.is_open = False
        self.is_over = False
        self.received: list[bytes] = []

    def first(self) -> bytes:
        """The first flight."""
        return b"".join(self.handed(b""))

    def handed(self, datagram: bytes) -> list[bytes]:
        """Take a datagram of the server; return what the client sends thereupon."""
        if datagram:
            self.connection.bio_write(datagram)
        try:
            if not self.is_open:
                self.connection.do_handshake()
                self.is_open = True
            while True:
                self.received.append(self.connection.recv(65536))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.is_over = True
        return self.flight()

    def flight(self) -> list[bytes]:
        """What the client has to send, each record as a datagram of its own."""
        try:
            return list(dtls_records.flight(self.connection.bio_read(65536), 0))
        except SSL.WantReadError:
            return []

    def encrypted(self, message: bytes) -> bytes:
        """One message as a record."""
        self.connection.send(message)
        return self.connection.bio_read(65536)

    def goodbye(self) -> bytes:
        """Close the session."""
        self.connection.shutdown()
        return self.connection.bio_read(65536)


class Served:
    """Sessions, the relay that they talk to, and the wire to clients."""

    def __init__(self, pair: CertificatePair, **bounds: float) -> None:
        self.stats = TurnStats()
        self.doors = Doors(self.stats)
        self.now = 1000.0
        self.proven: set[SocketAddress] = set()
        self.messages: list[bytes] = []
        self.left: list[tuple[int, SocketAddress]] = []
        self.wire: list[tuple[SocketAddress, bytes]] = []
        self.flushed = 0
        self.views: list[tuple[int, bytes | memoryview]] = []
        most = bounds.pop("most_sessions", 100)
        self.admission = Admission(StreamBounds(**bounds))
        self.sessions = Sessions(pair, Parts(self, self.doors, [None], self, self.stats, self.admission, most))

    # the relay
    def receive(self, number: int, message: memoryview, source: SocketAddress, now: float) -> None:
        assert self.doors.get(number) is not None
        self.messages.append(bytes(message))

    def flush(self) -> None:
        self.flushed += 1

    def has_allocation(self, number: int, source: SocketAddress) -> bool:
        return source in self.proven

    def gone(self, number: int, source: SocketAddress, now: float) -> None:
        self.left.append((number, source))

    # the outbox
    def send(self, udp: object, destination: SocketAddress, head: bytes, data: bytes | memoryview) -> None:
        assert udp is None
        self.views.append((self.flushed, data))
        self.wire.append((destination, head + bytes(data)))

    # what tests do
    def hand(self, datagram: bytes, source: SocketAddress = SOURCE) -> list[bytes]:
        """Hand a datagram in; return what went to its source."""
        self.wire.clear()
        self.sessions.receive(0, memoryview(datagram), source, self.now)
        return [data for destination, data in self.wire if destination == source]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.wire.clear()
        self.sessions.expire(self.now)

    def shake_hands(self, client: DtlsClient, source: SocketAddress = SOURCE) -> None:
        to_server = [client.first()]
        while to_server:
            replies = [reply for datagram in to_server for reply in self.hand(datagram, source)]
            to_server = [datagram for reply in replies for datagram in client.handed(reply)]

    def connected(self, source: SocketAddress = SOURCE, **options: object) -> DtlsClient:
        client = DtlsClient(**options)
        self.shake_hands(client, source)
        assert client.is_open
        return client

    def end(self) -> None:
        """Close all, and see that nothing is left."""
        self.sessions.close_all()
        assert len(self.sessions) == len(self.doors) == len(self.admission) == 0
        assert self.stats.connections.get("dtls", 0) == 0


def with_cookie(served: Served, client: DtlsClient, source: SocketAddress = SOURCE) -> bytes:
    (request,) = served.hand(client.first(), source)
    (hello,) = client.handed(request)
    return hello
