"""UDP sockets of the relay: drain loop and segmented sends. No rule of TURN; the seam for a compiled path."""

import errno
import socket
import sys
from collections.abc import Sequence

from media.turn.address import SocketAddress
from media.turn.effects import Buffer, TurnStats

RECEIVE_BUFFER_BYTES = 4 << 20
MOST_SEGMENTS = 48
MOST_RUN_BYTES = 65507
MOST_SEGMENT_BYTES = {int(socket.AF_INET): 1472, int(socket.AF_INET6): 1452}
"""UDP payload that fits an MTU of 1500."""

# plain numbers: enums cost time each time
_AF_INET, _AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_SOCK_NONBLOCK = int(getattr(socket, "SOCK_NONBLOCK", 0))  # Linux has it: a system call less
_DATAGRAMS = int(socket.SOCK_DGRAM) | _SOCK_NONBLOCK
_SOL_UDP = int(socket.IPPROTO_UDP)
_UDP_SEGMENT = 103
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT, _IP_PMTUDISC_DO = 0, 2
_IPV6_MTU_DISCOVER = 23
_SEGMENTS: dict[int, list[tuple[int, int, bytes]]] = {}
"""What asks for segments of a size; there are as many as sizes."""

_NO_SEGMENTATION = frozenset((errno.EIO, errno.EINVAL, errno.EMSGSIZE))


class UdpSocket:
    """One bound socket; `most_segment_bytes` sinks when segmented sends of a size turn out to fail."""

    __slots__ = ("handle", "most_segment_bytes", "sendto")

    def __init__(self, handle: socket.socket, family: int = 0) -> None:
        self.handle = handle
        self.sendto = handle.sendto
        # a socket makes an enum of its family each time, which takes longer than all else here
        self.most_segment_bytes = MOST_SEGMENT_BYTES[family or int(handle.family)]


def family_of(host: str) -> int:
    """Return the family of the kernel for a host in text."""
    return _AF_INET6 if ":" in host else _AF_INET


def open_socket(
    host: str,
    port: int,
    *,
    is_unfragmented: bool | None = None,
    is_beside_wildcard: bool = False,
    is_port_shared: bool = False,
) -> socket.socket:
    """Bind a non-blocking UDP socket; `is_unfragmented` sets or clears the DF bit of what it sends.

    `is_beside_wildcard`: a socket of ours that was opened for sharing has the port on the wildcard address.
    `is_port_shared`: other processes of ours have the same port; the kernel keeps each client on one of them.

    Raises: OSError as the kernel gives it.
    """
    family = family_of(host)
    handle = socket.socket(family, _DATAGRAMS, 0)
    try:
        if not _SOCK_NONBLOCK:
            handle.setblocking(False)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if is_beside_wildcard:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_port_shared:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == _AF_INET6:
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_unfragmented is not None:
            mode = _IP_PMTUDISC_DO if is_unfragmented else _IP_PMTUDISC_DONT
            if family == _AF_INET:
                handle.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)
            else:
                handle.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
        handle.bind((host, port))
    except OSError:
        handle.close()
        raise
    return handle


def send_all(udp: UdpSocket, destination: SocketAddress, packets: Sequence[Buffer]) -> int:
    """Send datagrams to one destination in order and return how many were lost.

    Equal lengths go out as one segmented send, the last may be shorter. A full socket buffer or an unreachable
    destination is a lost packet.
    """
    if len(packets) == 1:
        try:
            udp.sendto(packets[0], destination)
        except OSError:
            return 1
        return 0
    lost = at = 0
    while at < len(packets):
        end = _end_of_run(udp, packets, at)
        run = packets[at:end]
        try:
            if len(run) == 1 or not _send_run(udp, destination, run):
                lost += _send_each(udp, destination, run)
        except OSError:
            lost += len(run)
        at = end
    return lost


def _end_of_run(udp: UdpSocket, packets: Sequence[Buffer], at: int) -> int:
    size = len(packets[at])
    if not 0 < size <= udp.most_segment_bytes:
        return at + 1
    most = min(len(packets), at + MOST_SEGMENTS, at + MOST_RUN_BYTES // size)
    for end in range(at + 1, most):
        if len(packets[end]) != size:
            return end + (0 < len(packets[end]) < size)
    return most


def _send_run(udp: UdpSocket, destination: SocketAddress, run: Sequence[Buffer]) -> bool:
    size = len(run[0])
    segment = _SEGMENTS.get(size)
    if segment is None:
        segment = _SEGMENTS[size] = [(_SOL_UDP, _UDP_SEGMENT, size.to_bytes(2, sys.byteorder))]
    try:
        udp.handle.sendmsg(run, segment, 0, destination)
    except OSError as error:
        if error.errno in _NO_SEGMENTATION:
            # EIO: the device cannot do it at all; else these segments exceed the MTU towards one destination,
            # which must not cost the others their runs
            udp.most_segment_bytes = 0 if error.errno == errno.EIO else size - 1
            return False
        raise
    return True


def _send_each(udp: UdpSocket, destination: SocketAddress, packets: Sequence[Buffer]) -> int:
    lost = 0
    for packet in packets:
        try:
            udp.sendto(packet, destination)
        except OSError:
            lost += 1
    return lost


class Outbox:
    """Collects datagrams and sends them in order, consecutive ones to one destination together.

    Buffers must stay good until `flush`. All are sent at once: a send runs through the whole kernel, and what handles
    the next request would have to be fetched into the processor's caches again after each.
    """

    def __init__(self, stats: TurnStats) -> None:
        self._stats = stats
        self._runs: list[tuple[UdpSocket, SocketAddress, list[Buffer]]] = []
        self._senders: set[UdpSocket] = set()
        self._socket: UdpSocket | None = None
        self._destination: SocketAddress = ("", 0)
        self._packets: list[Buffer] = []

    def send(self, udp: UdpSocket, destination: SocketAddress, head: bytes, data: Buffer) -> None:
        """Take `head` and `data` as one datagram."""
        if udp is not self._socket or destination != self._destination:
            self._socket, self._destination, self._packets = udp, destination, []
            self._runs.append((udp, destination, self._packets))
            self._senders.add(udp)
        self._packets.append(b"".join((head, data)) if head else data)

    def flush(self) -> None:
        """Send what is collected."""
        if not self._runs:
            return
        runs, self._runs, self._socket = self._runs, [], None
        self._senders.clear()
        for udp, destination, packets in runs:
            self._stats.send_errors += send_all(udp, destination, packets)

    def flush_from(self, udp: UdpSocket) -> None:
        """Send what is collected, if some of it leaves by this socket."""
        if udp in self._senders:
            self.flush()
