"""Packets to one viewer's path: SRTP and the socket, with a bound on what may wait there."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

WAITING_LIMIT = 256 * 1024
"""Bytes that may wait in a path's send buffer; above it whole access units are skipped."""


class Path(Protocol):
    """The viewer's encrypted way out, as `media/peer/attach.py` gives it.

    Every method may raise whatever a closed transport raises; the fan-out guards each viewer.
    """

    def protect(self, packet: bytes) -> bytes:
        """Encrypt one RTP packet."""

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Encrypt one compound RTCP packet."""

    def write(self, datagrams: Sequence[bytes]) -> None:
        """Hand datagrams to the selected candidate pair, in order, without waiting."""

    def waiting_bytes(self) -> int:
        """Bytes that the socket has not taken yet."""


class PathStats(msgspec.Struct):
    """Datagrams and bytes handed to the path, SRTP included."""

    datagrams: int = 0
    bytes: int = 0


class PathSender:
    """Encrypts and writes; what does not fit is refused as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stats = PathStats()

    @property
    def is_full(self) -> bool:
        """More than `WAITING_LIMIT` bytes wait: skip the unit."""
        return self._path.waiting_bytes() > WAITING_LIMIT

    def send(self, packets: Sequence[bytes]) -> None:
        """Send RTP packets in order."""
        protect = self._path.protect
        self._write([protect(packet) for packet in packets])

    def send_rtcp(self, packet: bytes) -> None:
        """Send one compound RTCP packet."""
        self._write([self._path.protect_rtcp(packet)])

    def _write(self, datagrams: list[bytes]) -> None:
        self._path.write(datagrams)
        self.stats.datagrams += len(datagrams)
        self.stats.bytes += sum(map(len, datagrams))
