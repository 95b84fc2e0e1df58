"""TCP sockets between relayed addresses and peers, and the bytes that pass between them and clients (RFC 6062).

Which connections there may be is not decided here.
"""

import asyncio
import errno
import socket
import typing
from collections.abc import Callable

from media.turn.address import SocketAddress
from media.turn.effects import Buffer

CHUNK_BYTES = 65536
MOST_WAITING_BYTES = 131072
"""What may wait on its way to a client before its peer is read no more."""

PACE_S = 0.05
LEAST_PIECE_BYTES = 1200
"""What passes at once even where the bitrate is so small that more never would."""

BACKLOG = 16
PAUSE_S = 1.0
"""How long peers wait where none of them can be taken."""

_UNDER_WAY = frozenset((0, errno.EINPROGRESS))


class Rules(typing.Protocol):
    """The relay as peers' connections see it."""

    def peer_connected(self, connection: int, is_open: bool) -> None:
        """Take the result of a connect."""

    def peer_attempted(self, relay: int, source: SocketAddress) -> int:
        """Return the number of a connection that a peer opened, 0 to refuse it."""

    def peer_closed(self, connection: int) -> None:
        """Take note that a connection is closed."""

    def stream_passes(self, connection: int, size: int, *, is_upward: bool) -> bool:
        """Count bytes; False when they must wait."""

    def flush(self) -> None:
        """Send all that is collected for clients."""


class ClientStream(typing.Protocol):
    """The client's connection that is joined with a peer's."""

    unsent_bytes: int

    def send_raw(self, data: Buffer) -> None:
        """Send bytes as they are, with the next flush."""

    def read_on(self, is_wanted: bool) -> None:
        """Read from the client, or let it wait."""

    def end(self) -> None:
        """Close when all is sent."""


class Peer:
    """One connection with a peer. It is read only once it is joined with a client's."""

    def __init__(self, relays: "TcpRelays", number: int, relay: int, handle: socket.socket) -> None:
        self.relay = relay
        self._relays = relays
        self._loop = relays.loop
        self._number = number
        self._handle = handle
        self._client: ClientStream | None = None
        self._upward = _Way(self._loop, self._pass_up, self._let_client)
        self._downward = _Way(self._loop, self._pass_down, self._let_peer)
        self._backlog = bytearray()
        self._is_ending = False
        self._is_closed = False

    def await_connection(self) -> None:
        """Tell the rules once the connect that is under way has ended."""
        self._loop.add_writer(self._handle, self._connected)

    def join(self, client: ClientStream) -> None:
        """Pass bytes to and from this client from now on."""
        self._client = client
        self._loop.add_reader(self._handle, self._read)

    def take(self, data: Buffer) -> None:
        """Take bytes of the client."""
        self._upward.push(bytes(data))

    def client_took_all(self) -> None:
        """Take note that nothing waits any more on its way to the client."""
        self._downward.let_on()

    def client_ended(self) -> None:
        """Take note that the client sends no more: close once all is passed on."""
        self._is_ending = True
        self._close_when_sent()

    def close(self) -> None:
        """Close both halves."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._handle)
        self._loop.remove_writer(self._handle)
        self._upward.close()
        self._downward.close()
        self._handle.close()
        self._relays.forget(self._number)
        if self._client is not None:
            self._client.end()

    def _connected(self) -> None:
        self._loop.remove_writer(self._handle)
        is_open = self._handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        self._relays.rules.peer_connected(self._number, is_open)
        if not is_open:
            self.close()
        self._relays.rules.flush()

    def _read(self) -> None:
        try:
            data = self._handle.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._downward.push(data)
        else:
            self._downward.end(self.close)
        self._relays.rules.flush()

    def _pass_down(self, data: bytes) -> int:
        client = self._client
        if client is None:
            return 0
        count = self._passing(len(data), is_upward=False)
        if count:
            client.send_raw(data[:count])
        if client.unsent_bytes > MOST_WAITING_BYTES:
            self._downward.wait()
        return count

    def _pass_up(self, data: bytes) -> int:
        count = self._passing(len(data), is_upward=True)
        if count:
            self._send(data[:count])
        if self._backlog:
            self._upward.wait()
        return count

    def _passing(self, size: int, *, is_upward: bool) -> int:
        for piece in (size, LEAST_PIECE_BYTES):
            if piece <= size and self._relays.rules.stream_passes(self._number, piece, is_upward=is_upward):
                return piece
        return 0

    def _send(self, data: bytes) -> None:
        sent = 0
        if not self._backlog:
            try:
                sent = self._handle.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._loop.call_soon(self.close)
                return
            if sent < len(data):
                self._loop.add_writer(self._handle, self._write)
        self._backlog += data[sent:]

    def _write(self) -> None:
        try:
            sent = self._handle.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._loop.remove_writer(self._handle)
            self._upward.let_on()
            self._close_when_sent()

    def _close_when_sent(self) -> None:
        if self._is_ending and not self._backlog:
            self._upward.end(self.close)

    def _let_client(self, is_wanted: bool) -> None:
        if self._client is not None and not self._is_ending:
            self._client.read_on(is_wanted)

    def _let_peer(self, is_wanted: bool) -> None:
        if is_wanted:
            self._loop.add_reader(self._handle, self._read)
        else:
            self._loop.remove_reader(self._handle)


class _Way:
    """One direction: what had to wait, for the bitrate or for the other end, and whether its source is read."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], int], let_source: Callable[[bool], None]
    ) -> None:
        self._loop = loop
        self._send = send
        self._let_source = let_source
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting = False
        self._is_reading = True
        self._at_end: Callable[[], None] | None = None

    def push(self, data: bytes) -> None:
        """Pass data on as far as it may pass now; the rest follows, and until then the source is not read."""
        self._held += data
        self._go_on()

    def wait(self) -> None:
        """Send no more until `let_on`."""
        self._is_waiting = True

    def let_on(self) -> None:
        """The other end takes data again."""
        if self._is_waiting:
            self._is_waiting = False
            self._go_on()

    def end(self, then: Callable[[], None]) -> None:
        """Call `then` when all is passed on; nothing more comes."""
        self._at_end = then
        self._set_reading(False)
        self._go_on()

    def close(self) -> None:
        """Forget everything."""
        self._held, self._at_end = b"", None
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self) -> None:
        while self._held and not self._is_waiting and self._timer is None:
            count = self._send(self._held)
            self._held = self._held[count:]
            if not count:
                self._timer = self._loop.call_later(PACE_S, self._paced)
        if self._at_end is not None:
            if not self._held:
                self._at_end()
            return
        self._set_reading(not self._held and not self._is_waiting)

    def _paced(self) -> None:
        self._timer = None
        self._go_on()

    def _set_reading(self, is_wanted: bool) -> None:
        if is_wanted != self._is_reading:
            self._is_reading = is_wanted
            self._let_source(is_wanted)


class TcpRelays:
    """The TCP relay sockets of one process, and their peers."""

    def __init__(self, rules: Rules, loop: asyncio.AbstractEventLoop) -> None:
        self.rules = rules
        self.loop = loop
        self._listeners: dict[int, socket.socket] = {}
        self._peers: dict[int, Peer] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def __contains__(self, relay: int) -> bool:
        return relay in self._listeners

    def open(self, relay: int, host: str, port: int) -> None:
        """Listen on a relayed address. Raises: OSError."""
        handle = _bound(host, port)
        try:
            handle.listen(BACKLOG)
        except OSError:
            handle.close()
            raise
        self._listeners[relay] = handle
        self.loop.add_reader(handle, self._accept, relay, handle)

    def connect(self, relay: int, number: int, peer_address: SocketAddress) -> None:
        """Connect from a relayed address to a peer."""
        host, port = self._listeners[relay].getsockname()[:2]
        try:
            handle = _bound(host, port)
        except OSError:
            self.rules.peer_connected(number, False)
            return
        peer = self._peers[number] = Peer(self, number, relay, handle)
        if handle.connect_ex(peer_address) in _UNDER_WAY:
            peer.await_connection()
        else:
            self.rules.peer_connected(number, False)
            peer.close()

    def join(self, number: int, client: ClientStream) -> Peer | None:
        """Join a peer's connection with a client's; None when it closed meanwhile."""
        peer = self._peers.get(number)
        if peer is not None:
            peer.join(client)
        return peer

    def close_peer(self, number: int) -> None:
        """Close a peer's connection."""
        peer = self._peers.get(number)
        if peer is not None:
            peer.close()

    def close(self, relay: int) -> None:
        """Close a relay socket and its peers' connections."""
        handle = self._listeners.pop(relay)
        self.loop.remove_reader(handle)
        handle.close()
        for peer in [peer for peer in self._peers.values() if peer.relay == relay]:
            peer.close()

    def close_all(self) -> None:
        """Close everything."""
        for relay in list(self._listeners):
            self.close(relay)

    def forget(self, number: int) -> None:
        """Take note that a peer's connection is closed."""
        del self._peers[number]
        self.rules.peer_closed(number)

    def _accept(self, relay: int, listener: socket.socket) -> None:
        try:
            handle, source = listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # no descriptor is left: the peer that waits keeps the listener readable, and watching it would spin
            self.loop.remove_reader(listener)
            self.loop.call_later(PAUSE_S, self._accept_again, relay, listener)
            return
        number = self.rules.peer_attempted(relay, source)
        if number:
            handle.setblocking(False)
            self._peers[number] = Peer(self, number, relay, handle)
        else:
            handle.close()
        self.rules.flush()

    def _accept_again(self, relay: int, listener: socket.socket) -> None:
        if self._listeners.get(relay) is listener:
            self.loop.add_reader(listener, self._accept, relay, listener)


def _bound(host: str, port: int) -> socket.socket:
    handle = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        handle.setblocking(False)
        # the relayed address listens and connects at once (RFC 6062, 5.2)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handle.bind((host, port))
    except OSError:
        handle.close()
        raise
    return handle
