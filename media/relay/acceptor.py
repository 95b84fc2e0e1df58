"""Accepts TCP connections of clients on all listeners, and ends those whose time is over."""

import errno
import socket

from media.relay.hall import Hall
from media.relay.stream import Connection
from media.turn.address import SocketAddress

BUDGET = 64
"""Connections per wake-up of one listener, so that the others live."""

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Acceptor:
    """Lets connections into the hall from bound sockets, which stay their owner's to close."""

    def __init__(self, hall: Hall, listeners: list[socket.socket]) -> None:
        self._hall = hall
        self._listeners = listeners
        self._is_paused = False

    def start(self) -> None:
        """Begin to accept."""
        self._is_paused = False
        for listener in self._listeners:
            self._hall.loop.add_reader(listener, self._accept, listener)

    def stop(self) -> None:
        """Accept no more; connections that are open stay."""
        self._is_paused = False
        for listener in self._listeners:
            self._hall.loop.remove_reader(listener)

    def tick(self, now: float) -> None:
        """Close what had its time, about once a second."""
        hall = self._hall
        if self._is_paused:
            self.start()
        for connection in list(hall.connections.values()):
            if connection.has_allocation:
                connection.look(now)
        for number in hall.admission.half_open_too_long(now):
            hall.connections[number].refuse("timeout")
        for number in hall.admission.strange_too_long(now):
            hall.connections[number].refuse("no-allocation")

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BUDGET):
            try:
                handle, source = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause()
                    return
                continue  # the client went away while it waited
            self._welcome(handle, source)

    def _pause(self) -> None:
        # The connection that cannot be taken keeps the listener readable: watching it would spin.
        self._hall.stats.refuse("exhausted")
        self.stop()
        self._is_paused = True

    def _welcome(self, handle: socket.socket, source: SocketAddress) -> None:
        hall, now = self._hall, self._hall.loop.time()
        if hall.admission.is_full(source) or not hall.admission.may_knock(source, now):
            hall.stats.refuse("per-source")
            handle.close()
            return
        handle.setblocking(False)
        connection = Connection(hall, handle, source)
        oldest = hall.admission.arrive(connection.number, source, now)
        if oldest is not None:
            hall.connections[oldest].refuse("crowded")
            hall.relay.flush()
