"""An event loop that waits for packet sockets itself: one system call tells of them and of all that asyncio watches."""

import asyncio
import select
import selectors
import typing
from collections.abc import Callable, Mapping, Sequence

if typing.TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

MOST_READY = 64

Ready = Sequence[tuple[int, int]]
"""Descriptors that can be read, and their events."""


class PacketSelector(selectors.BaseSelector):
    """Hands packet sockets that can be read to `serve`; asyncio's own descriptors lie in a selector below."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.serve: Callable[[Ready], None] = lambda _: None
        self._below = selectors.EpollSelector()
        self._below_fd = self._below.fileno()
        self.epoll.register(self._below_fd, select.EPOLLIN)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait; serve the packet sockets that are ready and return what of the others is."""
        ready = self.epoll.poll(timeout, MOST_READY)
        packets = [each for each in ready if each[0] != self._below_fd]
        if packets:
            self.serve(packets)
        return self._below.select(0) if len(packets) < len(ready) else []

    def register(self, fileobj: "FileDescriptorLike", events: int, data: object = None) -> selectors.SelectorKey:
        """Watch a descriptor for asyncio."""
        return self._below.register(fileobj, events, data)

    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        """Watch it no more."""
        return self._below.unregister(fileobj)

    def modify(self, fileobj: "FileDescriptorLike", events: int, data: object = None) -> selectors.SelectorKey:
        """Watch it for other events."""
        return self._below.modify(fileobj, events, data)

    def get_map(self) -> Mapping["FileDescriptorLike", selectors.SelectorKey]:
        """Return what is watched for asyncio."""
        return self._below.get_map()

    def close(self) -> None:
        """Watch nothing more."""
        self._below.close()
        self.epoll.close()


class PacketLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop over a PacketSelector, for a process that relays; it needs epoll."""

    def __init__(self) -> None:
        self.packets = PacketSelector()
        super().__init__(self.packets)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the best event loop there is for relaying."""
    return PacketLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()
