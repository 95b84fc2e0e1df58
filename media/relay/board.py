"""Which relay ports are open in the processes that share listeners: a byte for each port, in memory that they share."""

import mmap
import os
from collections.abc import Container

PORTS = 1 << 16
_ALONE = ""


class Board:
    """The relay sockets of each port, written by the one process that the port belongs to.

    `path` is where another process of this machine joins it; without one it is this process's own.
    """

    def __init__(self, path: str = _ALONE) -> None:
        """Raises: OSError when there is none at the path."""
        if path == _ALONE:
            self._counts: mmap.mmap | bytearray = bytearray(PORTS)
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._counts = mmap.mmap(descriptor, PORTS)
        finally:
            os.close(descriptor)

    def opened(self, port: int) -> None:
        """Take note of one more relay socket on a port: there may be one of each family."""
        self._counts[port] += 1

    def closed(self, port: int) -> None:
        """Take note of one less."""
        self._counts[port] -= 1

    def __contains__(self, port: int) -> bool:
        return self._counts[port] > 0


class Siblings(Container[int]):
    """The ports of other processes on which a relay is open now."""

    def __init__(self, ports: frozenset[int], board: Board) -> None:
        self._ports = ports
        self._board = board

    def __contains__(self, port: object) -> bool:
        return port in self._ports and port in self._board

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Siblings) and other._ports == self._ports and other._board is self._board

    def __hash__(self) -> int:
        return hash(self._ports)


def shared() -> tuple[str, int]:
    """Make a board for processes of this machine: its path, good as long as the descriptor is open.

    The path is empty where the system has no such memory: then no process knows the ports of another.
    """
    if not hasattr(os, "memfd_create"):
        return _ALONE, -1
    descriptor = os.memfd_create("relay ports")
    os.ftruncate(descriptor, PORTS)
    return f"/proc/{os.getpid()}/fd/{descriptor}", descriptor
