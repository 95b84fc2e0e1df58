"""Packets to one viewer's path: SRTP and the socket, with a bound on what may wait there."""

import errno
import socket
from collections.abc import Sequence
from struct import pack
from typing import Protocol

import msgspec

from media.rtp.packetize import runs as runs_of

WAITING_LIMIT = 256 * 1024
"""Bytes that may wait in a path's send buffer; above it whole access units are skipped, key frames at twice as much."""

OFFLOAD_FAILURES = 3
_LEVEL = int(socket.IPPROTO_UDP)
_UDP_SEGMENT = 103  # linux/udp.h; the socket module has no name for it
_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


class Path(Protocol):
    """The viewer's encrypted way out, as `media/peer/attach.py` gives it.

    Every method may raise whatever a closed transport raises; the fan-out guards each viewer.
    """

    def protect(self, packet: bytes) -> bytes:
        """Encrypt one RTP packet."""

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Encrypt one compound RTCP packet."""

    def write(self, datagrams: Sequence[bytes]) -> bool:
        """Hand datagrams to the selected candidate pair, in order, without waiting.

        All are as long as the first one, only the last one may be shorter. True: one system call took them all.
        """

    def waiting_bytes(self) -> int:
        """Bytes that the socket has not taken yet."""


class Offload:
    """UDP segmentation offload (GSO) on one socket: one system call for many datagrams; given up where it fails.

    Failures that come again are those of the way (device, tunnel, MTU) or of the kernel.
    """

    def __init__(self) -> None:
        self.failures = 0

    def send(
        self, handle: socket.socket, buffers: Sequence[bytes], segment: int, address: tuple[str, int] | None
    ) -> bool:
        """Send `buffers` as datagrams of `segment` bytes; False: nothing was sent, send them one by one."""
        if self.failures >= OFFLOAD_FAILURES:
            return False
        try:
            handle.sendmsg(buffers, ((_LEVEL, _UDP_SEGMENT, pack("@H", segment)),), 0, address)
        except BlockingIOError:
            return False
        except OSError as error:
            self.failures += error.errno in _REFUSED
            return False
        self.failures = 0
        return True


class PathStats(msgspec.Struct):
    """Datagrams and bytes handed to the path, SRTP included; `segmented` datagrams shared a system call."""

    datagrams: int = 0
    bytes: int = 0
    segmented: int = 0


class PathSender:
    """Encrypts and writes; what does not fit is refused as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stats = PathStats()

    def is_full(self, *, is_key: bool = False) -> bool:
        """More than `WAITING_LIMIT` bytes wait: skip the unit. A key frame is worth twice as much."""
        return self._path.waiting_bytes() > (2 * WAITING_LIMIT if is_key else WAITING_LIMIT)

    def send(self, packets: Sequence[bytes], runs: Sequence[slice] | None = None) -> None:
        """Send RTP packets in order; `runs` are those of their payloads, if somebody has found them already."""
        protect = self._path.protect
        datagrams = [protect(packet) for packet in packets]
        for run in runs_of(datagrams) if runs is None else runs:
            self._write(datagrams[run])

    def send_rtcp(self, packet: bytes) -> None:
        """Send one compound RTCP packet."""
        self._write([self._path.protect_rtcp(packet)])

    def _write(self, datagrams: list[bytes]) -> None:
        is_one_call = self._path.write(datagrams)
        self.stats.datagrams += len(datagrams)
        self.stats.bytes += sum(map(len, datagrams))
        if is_one_call:
            self.stats.segmented += len(datagrams)
