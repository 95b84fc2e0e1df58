"""Which of many sockets can be read: one epoll below the event loop's, so that one wake-up serves all of them."""

import asyncio
import select
import socket
from collections.abc import Callable, Sequence

from media.relay.drains import Source

Drain = Callable[[float], None]
"""Reads a socket; it gets the instant."""

Round = Callable[[Sequence[Source], float], None]
"""Reads several sockets, at most MOST_READY; it gets the instant."""

MOST_READY = 64
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
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._serve)

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
        descriptor = handle.fileno()
        self._drains.pop(descriptor, None)
        self._together.pop(descriptor, None)
        try:
            self._epoll.unregister(descriptor)
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """Watch nothing more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            self._drains.clear()
            self._together.clear()

    def _serve(self) -> None:
        until = self._loop.time() + ROUNDS_S
        for _ in range(ROUNDS):
            ready = self._epoll.poll(0, MOST_READY) if self._epoll is not None else ()
            now = self._loop.time()
            for descriptor, _event in ready:
                drain = self._drains.get(descriptor)
                if drain is not None:  # the drain of another may have closed it
                    drain(now)
            together = [self._together[descriptor] for descriptor, _ in ready if descriptor in self._together]
            if together and self._read_together is not None:
                self._read_together(together, now)
            if len(ready) == 0 or now >= until:
                return
