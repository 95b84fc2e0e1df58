"""DTLS clients of the UDP listeners: cookies, sessions and their ends (RFC 6347, RFC 7350). Knows no rule of TURN."""

import contextlib
import hmac
import secrets
import ssl
from collections.abc import Callable, Sequence

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from media.relay.certificate import ALPN, CertificatePair
from media.relay.doors import Doors, Inside
from media.relay.udp import Outbox, UdpSocket
from media.turn import dtls_records
from media.turn.address import SocketAddress
from media.turn.admission import Admission
from media.turn.allocation import Client
from media.turn.effects import Buffer, TurnStats

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
FLIGHT_BYTES = 1200
"""Datagrams of the handshake: they pass every path of the Internet whole."""

MOST_HELLO_BYTES = 2048
MOST_PLAINTEXT_BYTES = 16384
MOST_RECORD_BYTES = MOST_PLAINTEXT_BYTES + 256
"""One record with the most plaintext that it may hold; longer datagrams are none of DTLS."""

MOST_FLIGHT_BYTES = 65536

COOKIE_BYTES = 16
"""The request for a cookie is then 44 bytes, the shortest ClientHello 67: nothing to reflect with."""

COOKIE_S = 60.0
_LAST_OF_STUN = 3
_DTLS_1_2 = 0xFEFD
_OPTIONS = SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | int(ssl.OP_NO_RENEGOTIATION)
_PROTOCOLS = frozenset(name.encode() for name in ALPN)


class Parts(msgspec.Struct):
    """What sessions are made of. Whoever calls into them flushes the relay afterwards."""

    relay: Inside
    doors: Doors
    listeners: Sequence[UdpSocket]
    outbox: Outbox
    stats: TurnStats
    admission: Admission
    most_sessions: int = 16384


class _Crypt:
    """Encrypts and decrypts in one buffer, so that all that a drain collects still lies there at its flush.

    It uses private names of pyOpenSSL, and is the only one to do so: the public calls make a new buffer each time and
    look for errors at each step, which costs 16 us for a packet there and back, against 6 us here.
    """

    BYTES = 256 << 10

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._view = memoryview(bytearray(self.BYTES))
        self._at = 0
        self._last_start = self.BYTES - 2 * MOST_RECORD_BYTES
        lib, self._cast = SSL._lib, SSL._ffi.from_buffer  # type: ignore[attr-defined]
        self._start = self._cast(self._view)
        self._read, self._write = lib.SSL_read, lib.SSL_write
        self._take, self._give, self._clear = lib.BIO_write, lib.BIO_read, lib.ERR_clear_error

    def forget_errors(self) -> None:
        """Empty the queue of errors, which all share: before OpenSSL 4 one in it ends the next session to read."""
        self._clear()

    def take(self, connection: SSL.Connection, datagram: memoryview) -> None:
        """Hand a datagram to OpenSSL."""
        self._take(connection._into_ssl, self._cast(datagram), len(datagram))

    def decrypt(self, connection: SSL.Connection) -> memoryview:
        """Return the plaintext of the next record, good until the flush. Raises: SSL.Error."""
        at = self._at
        if at > self._last_start:
            at = self._begin_again()
        handle = connection._ssl
        size: int = self._read(handle, self._start + at, MOST_RECORD_BYTES)
        if size <= 0:
            connection._raise_ssl_error(handle, size)
        self._at = end = at + size
        return self._view[at:end]

    def encrypt(self, connection: SSL.Connection, message: bytes) -> memoryview:
        """Return the record of a message, good until the flush. Raises: SSL.Error."""
        at = self._at
        if at > self._last_start:
            at = self._begin_again()
        handle = connection._ssl
        size: int = self._write(handle, message, len(message))
        if size <= 0:
            connection._raise_ssl_error(handle, size)
        self._at = end = at + self._give(connection._from_ssl, self._start + at, 2 * MOST_RECORD_BYTES)
        return self._view[at:end]

    def _begin_again(self) -> int:
        self._flush()
        self._at = 0
        return 0


class Session:
    """The DTLS session of one client, a door."""

    __slots__ = ("_sessions", "connection", "has_allocation", "hello", "is_open", "number", "random", "shift", "way")

    transport = "dtls"

    def __init__(self, sessions: "Sessions", connection: SSL.Connection, way: Client, random: bytes) -> None:
        self._sessions = sessions
        self.connection = connection
        self.way = way  # the listener and the address that its datagrams come from
        self.random = random
        self.number = 0
        self.hello = 0  # number of the record that brought the cookie
        self.shift: int | None = None
        self.is_open = False
        self.has_allocation = False

    def send(self, head: bytes, data: Buffer) -> None:
        """Send one message to the client; one that fits no record is lost."""
        self._sessions.send(self, b"".join((head, data)))

    def close(self) -> None:
        """Tell the client that it is over and forget it."""
        self._sessions.close(self)


class Sessions:
    """All DTLS sessions, by the listener and the address that their datagrams come from."""

    def __init__(self, pair: CertificatePair, parts: Parts) -> None:
        """Raises: ssl.SSLError when the certificate cannot be used."""
        self._parts = parts
        self._stats = parts.stats
        self._listeners = parts.listeners
        self._outbox_send = parts.outbox.send
        self._secret = secrets.token_bytes(32)
        self._by_client: dict[Client, Session] = {}
        self._by_number: dict[int, Session] = {}
        self._crypt = _Crypt(parts.relay.flush)
        self.load(pair)

    def __len__(self) -> int:
        return len(self._by_client)

    def load(self, pair: CertificatePair) -> None:
        """Read the certificate for handshakes to come; sessions that there are keep theirs.

        Raises: ssl.SSLError when it cannot be used; the one of before stays then.
        """
        self._context = _context(pair, self._cookie, self._is_cookie)
        self._listening = self._listen()

    def receive(self, listener: int, datagram: memoryview, source: SocketAddress, now: float) -> None:
        """Take a datagram that came from a client; its first byte said that it is DTLS."""
        session = self._by_client.get((listener, source))
        if session is None:
            self._greet((listener, source), datagram, dtls_records.client_random(datagram), now)
            return
        if datagram[0] == dtls_records.HANDSHAKE:
            random = dtls_records.client_random(datagram)
            if random is not None and random != session.random:
                # RFC 6347, 4.2.8: a client that starts anew has the old session until its cookie proves the address
                self._greet((listener, source), datagram, random, now)
                return
        size = len(datagram)
        if not dtls_records.HEADER_BYTES < size <= MOST_RECORD_BYTES:
            self._stats.drop("dtls-stray")
            return
        self._crypt.take(session.connection, datagram)
        if session.is_open:
            is_one = (datagram[11] << 8) + datagram[12] == size - dtls_records.HEADER_BYTES
            self._read(session, now, is_one=is_one)
        else:
            self._shake_hands(session, now)

    def expire(self, now: float) -> None:
        """Send again what was lost of handshakes, and end what took too long."""
        admission = self._parts.admission
        for number in admission.half_open_too_long(now):
            self._end(self._by_number[number], "timeout", now)
        for session in list(self._by_number.values()):
            if session.is_open:
                self._look(session, now)
            else:
                self._repeat(session, now)
        for number in admission.strange_too_long(now):
            self._end(self._by_number[number], "no-allocation", now)

    def close_all(self) -> None:
        """Tell all clients that it is over."""
        for session in list(self._by_number.values()):
            self.close(session)

    def send(self, session: Session, message: bytes) -> None:
        """Send a message to a client; one that fits no record is lost."""
        if len(message) > MOST_PLAINTEXT_BYTES:
            self._stats.drop("too-long")
            return
        try:
            record = self._crypt.encrypt(session.connection, message)
        except SSL.Error:
            self._stats.send_errors += 1
        else:
            listener, source = session.way
            self._outbox_send(self._listeners[listener], source, b"", record)

    def close(self, session: Session) -> None:
        """Say goodbye to a client and forget it."""
        if self._by_number.pop(session.number, None) is None:
            return
        del self._by_client[session.way]
        self._parts.admission.remove(session.number)
        self._parts.doors.close(session.number)
        if session.is_open:
            self._stats.connected("dtls", -1)
            with contextlib.suppress(SSL.Error):
                session.connection.shutdown()
        self._send_own_flight(session)

    def _greet(self, way: Client, datagram: memoryview, random: bytes | None, now: float) -> None:
        """Ask an unknown client for its cookie, or begin a session with one that has it."""
        if random is None or len(datagram) > MOST_HELLO_BYTES:
            self._stats.drop("dtls-stray")
            return
        if not self._parts.admission.may_knock(way[1], now):
            self._stats.drop("silenced")
            return
        connection = self._listening
        connection.set_app_data((way, now))
        connection.bio_write(datagram)
        try:
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            self._crypt.forget_errors()  # DTLSv1_listen returns so for most of what is malformed, too
            self._send_flight(connection, way)
        except SSL.Error:
            self._stats.drop("dtls-stray")
            self._listening = self._listen()
        else:
            self._listening = self._listen()
            session = Session(self, connection, way, random)
            session.hello = dtls_records.number(datagram)
            self._begin(session, now)

    def _begin(self, session: Session, now: float) -> None:
        parts, source = self._parts, session.way[1]
        former = self._by_client.get(session.way)
        if former is not None:
            self._end(former, "", now)
        is_full = len(self._by_client) >= parts.most_sessions
        if is_full or parts.admission.is_full(source):
            self._stats.refuse("full" if is_full else "per-source")
            return
        session.number = parts.doors.open(session)
        self._by_client[session.way] = self._by_number[session.number] = session
        oldest = parts.admission.arrive(session.number, source, now)
        if oldest is not None:
            self._end(self._by_number[oldest], "crowded", now)
        self._shake_hands(session, now)

    def _shake_hands(self, session: Session, now: float) -> None:
        try:
            session.connection.do_handshake()
        except SSL.WantReadError:
            self._send_own_flight(session)
        except SSL.Error:
            self._end(session, "protocol", now)
        else:
            session.is_open = True
            self._parts.admission.open(session.number)
            self._stats.connected("dtls", 1)
            self._send_own_flight(session)

    def _read(self, session: Session, now: float, *, is_one: bool) -> None:
        """Pass on what the client sent; of a datagram that `is_one` record, nothing is left after the first."""
        connection, number, source = session.connection, session.number, session.way[1]
        decrypt, receive = self._crypt.decrypt, self._parts.relay.receive
        try:
            while True:
                message = decrypt(connection)
                receive(number, message, source, now)
                if message[0] <= _LAST_OF_STUN:
                    self._look(session, now)
                if is_one:
                    return
        except SSL.WantReadError:
            self._send_own_flight(session)  # a client that repeats its last flight missed ours
        except SSL.ZeroReturnError:
            self._end(session, "", now)
        except SSL.Error:
            self._end(session, "protocol", now)

    def _look(self, session: Session, now: float) -> None:
        """Find out whether the client has an allocation: without one it is a stranger, with a deadline."""
        has_allocation = self._parts.relay.has_allocation(session.number, session.way[1])
        if has_allocation == session.has_allocation or session.number not in self._by_number:
            return
        session.has_allocation = has_allocation
        if has_allocation:
            self._parts.admission.remove(session.number)
        else:
            self._parts.admission.estrange(session.number, session.way[1], now)

    def _repeat(self, session: Session, now: float) -> None:
        try:
            session.connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self._end(session, "timeout", now)
        else:
            self._send_own_flight(session)

    def _end(self, session: Session, reason: str, now: float) -> None:
        """Close a session for a reason of ours, or none, and tell the relay."""
        if not session.is_open:
            self._stats.fail_handshake(reason or "closed")
        elif reason:
            self._stats.refuse(reason)
        self.close(session)
        self._parts.relay.gone(session.number, session.way[1], now)

    def _send_own_flight(self, session: Session) -> None:
        with contextlib.suppress(SSL.WantReadError):
            records = session.connection.bio_read(MOST_FLIGHT_BYTES)
            if session.shift is None:
                # RFC 6347, 4.2.1: the ServerHello takes up the number of the hello. OpenSSL begins with 1, as if no
                # hello had been repeated; a client that was asked for a cookie twice takes that for a replay.
                session.shift = max(0, session.hello - dtls_records.number(records))
            if session.shift:
                records = dtls_records.renumbered(records, session.shift)
            self._send_records(records, session.way)

    def _send_flight(self, connection: SSL.Connection, way: Client) -> None:
        with contextlib.suppress(SSL.WantReadError):
            self._send_records(connection.bio_read(MOST_FLIGHT_BYTES), way)

    def _send_records(self, records: bytes, way: Client) -> None:
        for datagram in dtls_records.flight(records, FLIGHT_BYTES):
            self._outbox_send(self._listeners[way[0]], way[1], b"", datagram)

    def _listen(self) -> SSL.Connection:
        connection = SSL.Connection(self._context)
        connection.set_accept_state()
        connection.set_ciphertext_mtu(FLIGHT_BYTES)
        return connection

    def _cookie(self, connection: SSL.Connection) -> bytes:
        way, now = connection.get_app_data()
        return self._sealed(way, int(now // COOKIE_S))

    def _is_cookie(self, connection: SSL.Connection, cookie: bytes) -> bool:
        way, now = connection.get_app_data()
        slot = int(now // COOKIE_S)
        return any(hmac.compare_digest(cookie, self._sealed(way, each)) for each in (slot, slot - 1))

    def _sealed(self, way: Client, slot: int) -> bytes:
        told = repr((way, slot)).encode()
        return hmac.digest(self._secret, told, "sha256")[:COOKIE_BYTES]


def _context(
    pair: CertificatePair,
    generate: Callable[[SSL.Connection], bytes],
    verify: Callable[[SSL.Connection, bytes], bool],
) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 32 KiB less for each session that is silent
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    context.set_alpn_select_callback(
        lambda _, offered: next((name for name in offered if name in _PROTOCOLS), SSL.NO_OVERLAPPING_PROTOCOLS)
    )
    context.set_cookie_generate_callback(generate)
    context.set_cookie_verify_callback(verify)
    try:
        context.use_certificate_chain_file(str(pair.certificate))
        key = load_pem_private_key(pair.key.read_bytes(), None)
        context.use_privatekey(key)  # type: ignore[arg-type]  # refused there when it is none for certificates
        context.check_privatekey()
    except (SSL.Error, OSError, TypeError, ValueError) as error:
        raise ssl.SSLError(f"{pair.certificate} and {pair.key} cannot be used for DTLS: {error}") from error
    return context
