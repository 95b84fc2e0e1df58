"""Which of many sockets can be read, by one epoll for all of them: the event loop's own where it has one for packets,
else one below the event loop's."""

import asyncio
import select
import socket
from collections.abc import Callable, Sequence

from media.relay.drains import Source
from media.relay.packet_loop import MOST_READY, PacketLoop, Ready

Drain = Callable[[float], None]
"""Reads a socket; it gets the instant."""

Round = Callable[[Sequence[Source], float], None]
"""Reads several sockets, at most MOST_READY; it gets the instant."""

ROUNDS = 4
ROUNDS_S = 0.002
"""So often or so long the sockets are looked at, if some are ready each time, before the loop may do something else."""


class Readiness:
    """Calls the drain of each socket that can be read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._drains: dict[int, Drain] = {}
        self._together: dict[int, Source] = {}
        self._read_together: Round | None = None
        self._packets = loop.packets if isinstance(loop, PacketLoop) else None
        self._epoll: select.epoll | None = None
        if self._packets is not None:
            self._epoll = self._packets.epoll
            self._packets.serve = self._serve_safely
        elif hasattr(select, "epoll"):
            self._epoll = select.epoll()
            loop.add_reader(self._epoll.fileno(), self._look)

    def add(self, handle: socket.socket, drain: Drain) -> None:
        """Watch a socket."""
        if self._epoll is None:
            self._loop.add_reader(handle, lambda: drain(self._loop.time()))
            return
        descriptor = handle.fileno()
        self._drains[descriptor] = drain
        self._epoll.register(descriptor, select.EPOLLIN)

    def add_together(self, source: Source, read: Round) -> None:
        """Watch a socket that is read with others: `read`, the same for all of them, gets all that are ready."""
        handle = source.udp.handle
        if self._epoll is None:
            self._loop.add_reader(handle, lambda: read((source,), self._loop.time()))
            return
        self._read_together = read
        descriptor = handle.fileno()
        self._together[descriptor] = source
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, handle: socket.socket) -> None:
        """Watch a socket no more; it may have been closed by then."""
        if self._epoll is None:
            self._loop.remove_reader(handle)
            return
        self._forget(handle.fileno())

    def close(self) -> None:
        """Watch nothing more."""
        if self._epoll is None:
            return
        if self._packets is None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        else:
            for descriptor in [*self._drains, *self._together]:
                self._forget(descriptor)
        self._epoll = None
        self._drains.clear()
        self._together.clear()

    def _forget(self, descriptor: int) -> None:
        self._drains.pop(descriptor, None)
        self._together.pop(descriptor, None)
        try:
            if self._epoll is not None:
                self._epoll.unregister(descriptor)
        except (OSError, ValueError):
            return

    def _look(self) -> None:
        until = self._loop.time() + ROUNDS_S
        for _ in range(ROUNDS):
            ready = self._epoll.poll(0, MOST_READY) if self._epoll is not None else ()
            if len(ready) == 0 or self._serve(ready) >= until:
                return

    def _serve_safely(self, ready: Ready) -> None:
        try:
            self._serve(ready)
        except Exception as error:  # noqa: BLE001  # a bug that one packet meets must not end the loop of all
            self._loop.call_exception_handler({"message": "a packet met a bug", "exception": error})

    def _serve(self, ready: Ready) -> float:
        now = self._loop.time()
        for descriptor, _event in ready:
            drain = self._drains.get(descriptor)
            if drain is not None:  # the drain of another may have closed it
                drain(now)
        together = [self._together[descriptor] for descriptor, _ in ready if descriptor in self._together]
        if together and self._read_together is not None:
            self._read_together(together, now)
        return now
