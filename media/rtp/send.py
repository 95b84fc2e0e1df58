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


ROOM_BYTES = 80_000
"""Room for one run of packets; see `runs` in `media/rtp/packetize.py`."""


class Path(Protocol):
    """The viewer's encrypted way out, as `media/peer/path.py` gives it.

    Every method may raise whatever a closed transport raises; the fan-out guards each viewer.
    """

    def send(self, heads: Sequence[bytes], payloads: Sequence[bytes]) -> tuple[int, bool]:
        """Encrypt one run of RTP packets, each a head and its payload, and hand them to the selected candidate pair.

        In order, without waiting; a run is what `runs` gives. The answer: bytes of all datagrams, and whether one
        system call took them all.
        """

    def send_rtcp(self, packet: bytes) -> int:
        """Encrypt one compound RTCP packet and hand it over; gives the bytes of the datagram."""

    def waiting_bytes(self) -> int:
        """Bytes that the socket has not taken yet."""


class Offload:
    """UDP segmentation offload (GSO) on one socket: one system call for many datagrams; given up where it fails.

    Failures that come again are those of the way (device, tunnel, MTU) or of the kernel.
    """

    def __init__(self) -> None:
        self.failures = 0

    def send(
        self, handle: socket.socket, data: bytes | memoryview, segment: int, address: tuple[str, int] | None
    ) -> bool:
        """Send `data` as datagrams of `segment` bytes; False: nothing was sent, send them one by one."""
        if self.failures >= OFFLOAD_FAILURES:
            return False
        try:
            handle.sendmsg((data,), ((_LEVEL, _UDP_SEGMENT, pack("@H", segment)),), 0, address)
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

    def send(self, heads: Sequence[bytes], payloads: Sequence[bytes], runs: Sequence[slice]) -> None:
        """Send the packets of a unit in order; `runs` are those of its payloads."""
        if len(runs) == 1:
            self._sent(len(payloads), self._path.send(heads, payloads))
            return
        for run in runs:
            self._sent(len(payloads[run]), self._path.send(heads[run], payloads[run]))

    def send_again(self, packets: Sequence[bytes]) -> None:
        """Send whole RTP packets in order."""
        for run in runs_of(packets):
            self._sent(len(packets[run]), self._path.send(packets[run], (b"",) * len(packets[run])))

    def send_rtcp(self, packet: bytes) -> None:
        """Send one compound RTCP packet."""
        self._sent(1, (self._path.send_rtcp(packet), False))

    def _sent(self, datagrams: int, outcome: tuple[int, bool]) -> None:
        size, is_one_call = outcome
        self.stats.datagrams += datagrams
        self.stats.bytes += size
        if is_one_call:
            self.stats.segmented += datagrams
