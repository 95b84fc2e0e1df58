"""One TCP or TLS connection of a client: its socket, its messages, its bounds. What they mean is not known here."""

import contextlib
import socket
from collections.abc import Callable

from media.relay.hall import READ_BYTES, Hall, Pipe
from media.relay.tls import TlsError, TlsPipe
from media.turn.address import SocketAddress
from media.turn.effects import Buffer
from media.turn.framing import BROKEN, LAST_OF_STUN, TLS_HANDSHAKE, cut

MOST_STRANGER_BYTES = 4096
"""A client without an allocation has no reason to begin a longer message, and shall not have it kept."""

MOST_RAW_BYTES = 1 << 18
"""What a pipe may have waiting here, more than which it must not send."""

MOST_OF_STRANGER_BYTES = 32768
"""What a client without an allocation may send in all: ten times what it takes to get one by TLS."""

MOST_MESSAGES, MOST_STRANGER_MESSAGES = 128, 8
"""Messages of one client per turn of the loop, so that others live: 64 KiB may hold 16,000, and strangers are many."""

_DATA_INDICATION = b"\x00\x17"
_PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")


class RefusedError(Exception):
    """The client broke the rules: close the connection and count the reason."""


class Connection:
    """A door to one client. It is told apart by its first byte: TLS or plain TURN (RFC 7983)."""

    def __init__(self, hall: Hall, handle: socket.socket, source: SocketAddress) -> None:
        self.source = source
        self.number = hall.doors.open(self)
        self.has_allocation = False
        self._hall = hall
        self._handle = handle
        self._tls: TlsPipe | None = None
        self.transport = ""
        self._rest = b""
        self._stranger_bytes = 0
        self._parts: list[Buffer] = []
        self._backlog = bytearray()
        self.unsent_bytes = 0
        self._is_counted = False
        self._is_waiting = False
        self._is_ending = False
        self._is_closed = False
        self._pipe: Pipe | None = None
        self._most_unsent_bytes = 2 * hall.bounds.write_buffer_bytes
        hall.connections[self.number] = self
        self._is_reading = False
        self.read_on(True)

    def send(self, head: bytes, data: Buffer) -> None:
        """Take one whole message for the client, to be sent at the flush with all others."""
        size = len(head) + len(data)
        if self.unsent_bytes + size > self._hall.bounds.write_buffer_bytes and not self._has_room(size):
            self._lose(head or data)
            return
        if not self._is_waiting:
            self._send_at_flush()
        padding = _PADDING[-size & 3]  # RFC 8656, 12.5
        self.unsent_bytes += size + len(padding)
        if self._tls is None:
            self._parts += (head, data, padding)
        else:
            # a record for each message, since clients are about that take a record for a message (turnutils_uclient)
            self._write_out(b"".join((head, data, padding)) if head or padding else data)

    def join(self, pipe: Pipe) -> None:
        """Pass all bytes that come from now on to the pipe, as they are."""
        self._pipe = pipe
        self._most_unsent_bytes += MOST_RAW_BYTES
        self._hall.admission.remove(self.number)

    def send_raw(self, data: Buffer) -> None:
        """Send bytes as they are, with the next flush; whoever sends looks at `unsent_bytes`."""
        self._send_at_flush()
        self.unsent_bytes += len(data)
        self._write_out(data)

    def read_on(self, is_wanted: bool) -> None:
        """Read from the client, or let it wait."""
        is_wanted = is_wanted and not self._is_closed
        if is_wanted and not self._is_reading:
            self._hall.readiness.add(self._handle, self._read)
        elif self._is_reading and not is_wanted:
            self._hall.readiness.remove(self._handle)
        self._is_reading = is_wanted

    def end(self) -> None:
        """Close when all is sent."""
        if not self._is_closed:
            self._is_ending = True
            self.read_on(False)
            self._hall.doors.at_flush(self._close_when_sent)

    def close(self) -> None:
        """Close the socket and forget the connection."""
        if self._is_closed:
            return
        self._is_closed = True
        hall = self._hall
        self.read_on(False)
        hall.loop.remove_writer(self._handle)
        if self._tls is not None and self._tls.is_open and not self._backlog:
            self._tls.end()
            self._send_last(self._tls.outgoing())
        self._handle.close()
        hall.doors.close(self.number)
        hall.admission.remove(self.number)
        hall.connections.pop(self.number, None)
        if self._is_counted:
            hall.stats.connected(self.transport, -1)
        if self._pipe is not None:
            self._pipe.close()

    def refuse(self, reason: str) -> None:
        """Close for a reason of ours, and count it."""
        if self._is_closed:
            return
        if self._tls is not None and not self._tls.is_open:
            self._hall.stats.fail_handshake(reason)
        else:
            self._hall.stats.refuse(reason)
        self._end()

    def look(self, now: float) -> None:
        """Find out whether the client has an allocation: without one it is a stranger, with a deadline."""
        if self._is_closed or self._pipe is not None:
            return
        has_allocation = self._hall.relay.has_allocation(self.number, self.source)
        if has_allocation == self.has_allocation:
            return
        self.has_allocation = has_allocation
        self._stranger_bytes = 0
        if has_allocation:
            self._hall.admission.remove(self.number)
        else:
            self._hall.admission.estrange(self.number, self.source, now)

    def _read(self, now: float) -> None:
        self._work(self._take, now)

    def _go_on(self) -> None:
        if not self._is_closed and not self._is_ending:
            self.read_on(True)
            self._work(self._take_rest, self._hall.loop.time())

    def _work(self, take: Callable[[float], None], now: float) -> None:
        is_well = False
        try:
            is_well = self._take_and_judge(take, now)
        finally:
            # a fault of ours flies on; the stream has lost its way by it
            if not is_well:
                self._end()
            self._hall.relay.flush()

    def _take_and_judge(self, take: Callable[[float], None], now: float) -> bool:
        try:
            take(now)
        except BlockingIOError:
            return True
        except OSError:
            return False  # reset, or keepalive was not answered
        except RefusedError as error:
            self.refuse(str(error))
        except TlsError as error:
            if self._tls is not None:
                self._send_last(self._tls.outgoing())  # the alert that says why
            self.refuse(error.reason)
        return True

    @property
    def is_joined(self) -> bool:
        """Tell whether bytes pass raw."""
        return self._pipe is not None

    def _take(self, now: float) -> None:
        hall, rest = self._hall, self._rest
        most = READ_BYTES if self.has_allocation or self.is_joined else MOST_STRANGER_BYTES
        if self._tls is not None:
            count = self._handle.recv_into(hall.encrypted[:most])
            self._tls.take(hall.encrypted[:count])
            self._decrypt(self._tls, now)
        else:
            kept = len(rest)
            hall.room[:kept] = rest
            count = self._handle.recv_into(hall.room[kept : kept + most])
            if count and (self.transport or self._is_plain(hall.room[:count], now)):
                self._feed(hall.room[: kept + count], now)
        if not count and not self._is_ending:
            self._half_close(now)
        if not self.has_allocation and not self.is_joined:
            self._stranger_bytes += count
            if self._stranger_bytes > MOST_OF_STRANGER_BYTES:
                raise RefusedError("no-allocation")

    def _take_rest(self, now: float) -> None:
        room, kept = self._hall.room, len(self._rest)
        room[:kept] = self._rest
        self._feed(room[:kept], now)

    def _is_plain(self, data: memoryview, now: float) -> bool:
        first = data[0]
        if first <= LAST_OF_STUN:
            self.transport = "tcp"
            self._opened()
            return True
        if first != TLS_HANDSHAKE:
            raise RefusedError("not-turn")
        if self._hall.tls is None:
            raise RefusedError("no-certificate")
        try:
            tls = self._tls = TlsPipe(self._hall.tls)
        except ConnectionAbortedError as error:
            raise RefusedError("handshakes") from error
        self.transport = "tls"
        tls.take(data)
        self._decrypt(tls, now)
        return False

    def _opened(self) -> None:
        self._hall.admission.open(self.number)
        self._hall.stats.connected(self.transport, 1)
        self._is_counted = True

    def _decrypt(self, tls: TlsPipe, now: float) -> None:
        room, rest = self._hall.room, self._rest
        if not tls.is_open:
            if not tls.shake_hands():
                self._put(tls.outgoing())
                return
            self._opened()
        kept = len(rest)
        room[:kept] = rest
        count = tls.read_into(room[kept:])
        self._put(tls.outgoing())
        if count and not self._is_closed:
            self._feed(room[: kept + count], now)
        if tls.is_ended and not self._is_closed:
            self._half_close(now)

    def _feed(self, data: memoryview, now: float) -> None:
        pipe = self._pipe
        if pipe is not None:
            pipe.take(data)
            return
        hall, number, source = self._hall, self.number, self.source
        most = MOST_MESSAGES if self.has_allocation else MOST_STRANGER_MESSAGES
        messages, used = cut(data, hall.last_of_channels, most)
        self._rest = bytes(data[used:]) if used != BROKEN else b""
        receive = hall.relay.receive
        has_asked = False
        for message in messages:
            receive(number, message, source, now)
            has_asked |= message[0] <= LAST_OF_STUN
            if self._is_closed:
                return  # what follows would be done for nobody, and nobody would end it
        if len(messages) == most and self._rest:
            self.read_on(False)
            hall.loop.call_soon(self._go_on)
        if self.is_joined:
            # a client that sends on before it has the answer to ConnectionBind is refused (RFC 6062, 4.3)
            used = used if used == len(data) else BROKEN
        elif has_asked:
            self.look(now)
        if used == BROKEN or (len(self._rest) > MOST_STRANGER_BYTES and not self.has_allocation):
            raise RefusedError("malformed")

    def _has_room(self, size: int) -> bool:
        self._send_waiting()  # one drain may bring more than the buffer holds, and the socket take it
        return self.unsent_bytes + size <= self._hall.bounds.write_buffer_bytes

    def _lose(self, message: Buffer) -> None:
        if message[0] > LAST_OF_STUN or message[:2] == _DATA_INDICATION:
            self._hall.stats.drop("write-buffer")
        else:
            # a client that waits for a reply which never comes is worse off than one that knows
            self._hall.doors.at_flush(lambda: self.refuse("write-buffer"))

    def _send_at_flush(self) -> None:
        self._is_waiting = True
        self._hall.doors.at_flush(self._send_waiting)

    def _write_out(self, data: Buffer) -> None:
        if self._tls is None:
            self._parts.append(data)
            return
        try:
            self._tls.write(data)
        except TlsError:
            self._hall.doors.at_flush(self._end)

    def _send_waiting(self) -> None:
        self._is_waiting = False
        if self._is_closed:
            return
        if self._tls is not None:
            self._put(self._tls.outgoing())
        else:
            parts, self._parts = self._parts, []
            self._put(b"".join(parts))

    def _put(self, data: bytes) -> None:
        if not data:
            return
        sent = 0
        if not self._backlog:
            try:
                sent = self._handle.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._end()
                return
            if sent < len(data):
                self._hall.loop.add_writer(self._handle, self._write)
        if sent < len(data):
            self._backlog += memoryview(data)[sent:]
        self.unsent_bytes = len(self._backlog)
        if self._pipe is not None and not self._backlog:
            self._pipe.client_took_all()
        if self.unsent_bytes > self._most_unsent_bytes:
            # TLS answers by itself: a client that asks for new keys and reads nothing
            self.refuse("write-buffer")

    def _send_last(self, data: bytes) -> None:
        if not self._backlog:
            with contextlib.suppress(OSError):
                self._handle.send(data)

    def _write(self) -> None:
        try:
            sent = self._handle.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        del self._backlog[:sent]
        self.unsent_bytes = len(self._backlog)
        if not self._backlog:
            self._hall.loop.remove_writer(self._handle)
            self._all_sent()

    def _half_close(self, now: float) -> None:
        # Nothing can be asked any more, so the allocation ends; replies under way may still arrive. A client that
        # does not take them is a stranger with a deadline.
        if self._tls is not None and not self._tls.is_open:
            self.refuse("closed")
            return
        self.read_on(False)
        if self._pipe is not None:
            self._pipe.client_ended()
            return
        self._is_ending = True
        self._hall.relay.gone(self.number, self.source, now)
        self.look(now)
        self._hall.doors.at_flush(self._close_when_sent)

    def _all_sent(self) -> None:
        if self._pipe is not None:
            self._pipe.client_took_all()
        if self._is_ending:
            self._close_when_sent()

    def _close_when_sent(self) -> None:
        if not self._backlog:
            self.close()

    def _end(self) -> None:
        if self._is_waiting:
            self._send_waiting()  # what was answered before the end
        if self._is_closed:
            return
        self._hall.relay.gone(self.number, self.source, self._hall.loop.time())
        self.close()
