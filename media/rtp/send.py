"""Packets to one viewer's path: SRTP and the socket, with a bound on what may wait there."""

import errno
import socket
import time
from collections.abc import Sequence
from struct import pack
from typing import Protocol

from media.rtp.packetize import PacketizedUnit, runs
from media.rtp.viewer import SenderStats

WAITING_LIMIT = 256 * 1024
"""Bytes that may wait in a path's send buffer; above it whole access units are skipped, key frames at twice as much."""

OFFLOAD_FAILURES = 3
_LEVEL = int(socket.IPPROTO_UDP)
_UDP_SEGMENT = 103  # linux/udp.h; the socket module has no name for it
_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


ROOM_BYTES = 80_000
"""Room for one run of packets; see `runs` in `media/rtp/packetize.py`."""

Sealed = tuple[memoryview, int]
"""An encrypted run, and the bytes of each of its datagrams, of which the last one may have fewer."""


class Path(Protocol):
    """The viewer's encrypted way out, as `media/peer/path.py` gives it.

    Every method may raise whatever a closed transport raises; the fan-out guards each viewer.
    """

    def seal(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        """Encrypt one run of RTP packets, each a head and its payload, in the room of the path from the byte `at` on.

        A run is what `runs` gives. It lies there until something else is sealed over it.
        """

    def send(self, sealed: Sealed) -> bool:
        """Hand a run to the selected candidate pair, in order, without waiting; whether one system call took it all."""

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypt one compound RTCP packet and hand it over."""

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


class Parcel:
    """The packets of one access unit for one viewer, run by run: sealed, then sent.

    Paths that share a room may seal one behind the other before any of them sends.
    """

    __slots__ = ("_heads", "_path", "_sealed", "_stats", "_unit")

    def __init__(self, path: Path, unit: PacketizedUnit, heads: Sequence[bytes], stats: SenderStats) -> None:
        self._path = path
        self._unit = unit
        self._heads = heads
        self._stats = stats

    def seal(self, run: slice, at: int) -> int:
        """Encrypt one run of the unit in the room of the path from `at` on; where it ends."""
        heads, payloads = self._heads, self._unit.payloads
        if len(self._unit.runs) > 1:
            heads, payloads = heads[run], payloads[run]
        self._sealed = sealed = self._path.seal(heads, payloads, at)
        return at + len(sealed[0])

    def send(self, packets: int) -> None:
        """Send the `packets` of the run that was sealed last."""
        self._path.send(self._sealed)
        self._stats.send_delay_s += (time.monotonic() - self._unit.packetized_at) * packets

    def send_alone(self) -> None:
        """Seal and send all runs."""
        for run in self._unit.runs:
            self.seal(run, 0)
            self.send(run.stop - run.start)


class PathSender:
    """One path for units, packets that are sent again, and RTCP; what does not fit is refused as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_full(self, *, is_key: bool = False) -> bool:
        """More than `WAITING_LIMIT` bytes wait: skip the unit. A key frame is worth twice as much."""
        return self._path.waiting_bytes() > (2 * WAITING_LIMIT if is_key else WAITING_LIMIT)

    def parcel(self, unit: PacketizedUnit, heads: Sequence[bytes], stats: SenderStats) -> Parcel:
        """The packets of a unit on this path."""
        return Parcel(self._path, unit, heads, stats)

    def send_again(self, packets: Sequence[bytes]) -> None:
        """Send whole RTP packets in order."""
        for run in runs(packets):
            self._path.send(self._path.seal(packets[run], (b"",) * len(packets[run]), 0))

    def send_rtcp(self, packet: bytes) -> None:
        """Send one compound RTCP packet."""
        self._path.send_rtcp(packet)
