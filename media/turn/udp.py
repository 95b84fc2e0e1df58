"""UDP sockets of the relay: drain loop and segmented sends. No rule of TURN; the seam for a compiled path."""

import errno
import socket
import sys
from collections.abc import Callable

from media.turn.address import SocketAddress
from media.turn.effects import Buffer, TurnStats

BUDGET = 64
"""Datagrams per wake-up of one socket, so that timers and the other sockets live."""

SLOT_BYTES = 65536
RECEIVE_BUFFER_BYTES = 4 << 20
MOST_SEGMENTS = 48
MOST_RUN_BYTES = 65507
MOST_SEGMENT_BYTES = {socket.AF_INET: 1472, socket.AF_INET6: 1452}
"""UDP payload that fits an MTU of 1500."""

_SOL_UDP = socket.IPPROTO_UDP
_UDP_SEGMENT = 103
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT, _IP_PMTUDISC_DO = 0, 2
_IPV6_MTU_DISCOVER = 23
_NO_SEGMENTATION = frozenset((errno.EIO, errno.EINVAL, errno.EMSGSIZE))


class UdpSocket:
    """One bound socket; `can_segment` turns false when its path cannot do segmented sends."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle
        self.can_segment = True
        self.most_segment_bytes = MOST_SEGMENT_BYTES[socket.AddressFamily(handle.family)]


def open_socket(
    host: str, port: int, *, is_unfragmented: bool | None = None, is_beside_wildcard: bool = False
) -> socket.socket:
    """Bind a non-blocking UDP socket; `is_unfragmented` sets or clears the DF bit of what it sends.

    `is_beside_wildcard`: a socket of ours that was opened for sharing has the port on the wildcard address.

    Raises: OSError as the kernel gives it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    handle = socket.socket(family, socket.SOCK_DGRAM)
    try:
        handle.setblocking(False)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if is_beside_wildcard:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_unfragmented is not None:
            mode = _IP_PMTUDISC_DO if is_unfragmented else _IP_PMTUDISC_DONT
            if family == socket.AF_INET:
                handle.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)
            else:
                handle.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
        handle.bind((host, port))
    except OSError:
        handle.close()
        raise
    return handle


class Slots:
    """Receive buffers that are made once. A slot holds the largest datagram: a smaller one would cut silently."""

    def __init__(self) -> None:
        whole = memoryview(bytearray(BUDGET * SLOT_BYTES))
        self.views = [whole[at : at + SLOT_BYTES] for at in range(0, BUDGET * SLOT_BYTES, SLOT_BYTES)]

    def drain(self, handle: socket.socket, take: Callable[[memoryview, SocketAddress], None], stats: TurnStats) -> None:
        """Receive until the socket is empty or the budget is spent; each datagram lies in its own slot."""
        receive = handle.recvfrom_into
        for slot in self.views:
            try:
                length, source = receive(slot)
            except BlockingIOError:
                return
            except OSError:
                # ICMP towards one peer or client: a lost packet, never the end of the socket
                stats.receive_errors += 1
                continue
            take(slot[:length], source)


class Outbox:
    """Sends datagrams in order; runs to one destination go out as one segmented send.

    A run is of equal lengths, the last may be shorter and ends it. Buffers must stay good until `flush`. A full
    socket buffer or an unreachable destination is a lost packet.
    """

    def __init__(self, stats: TurnStats) -> None:
        self._stats = stats
        self._socket: UdpSocket | None = None
        self._destination: SocketAddress | None = None
        self._datagrams: list[tuple[bytes, Buffer]] = []
        self._segment_bytes = 0
        self._run_bytes = 0

    def send(self, udp: UdpSocket, destination: SocketAddress, head: bytes, data: Buffer) -> None:
        """Send `head` and `data` as one datagram, now or with the run that it belongs to."""
        size = len(head) + len(data)
        if self._datagrams and not self._fits(udp, destination, size):
            self.flush()
        if not self._datagrams:
            self._socket, self._destination, self._segment_bytes = udp, destination, size
        self._datagrams.append((head, data))
        self._run_bytes += size
        if size < self._segment_bytes or not self._may_grow(udp):
            self.flush()

    def flush(self) -> None:
        """Send what is collected."""
        udp, destination, datagrams = self._socket, self._destination, self._datagrams
        if udp is None or destination is None:
            return
        self._socket, self._datagrams, self._run_bytes = None, [], 0
        if len(datagrams) == 1 or not self._send_run(udp, destination, datagrams):
            for head, data in datagrams:
                self._send_one(udp, destination, head, data)

    def _fits(self, udp: UdpSocket, destination: SocketAddress, size: int) -> bool:
        return (
            self._socket is udp
            and self._destination == destination
            and 0 < size <= self._segment_bytes
            and self._run_bytes + size <= MOST_RUN_BYTES
        )

    def _may_grow(self, udp: UdpSocket) -> bool:
        return (
            udp.can_segment
            and 0 < self._segment_bytes <= udp.most_segment_bytes
            and len(self._datagrams) < MOST_SEGMENTS
        )

    def _send_run(self, udp: UdpSocket, destination: SocketAddress, datagrams: list[tuple[bytes, Buffer]]) -> bool:
        parts = [part for datagram in datagrams for part in datagram if len(part)]
        segment = self._segment_bytes.to_bytes(2, sys.byteorder)
        try:
            udp.handle.sendmsg(parts, [(_SOL_UDP, _UDP_SEGMENT, segment)], 0, destination)
        except OSError as error:
            if error.errno in _NO_SEGMENTATION:
                udp.can_segment = False
                return False
            self._stats.send_errors += len(datagrams)
        return True

    def _send_one(self, udp: UdpSocket, destination: SocketAddress, head: bytes, data: Buffer) -> None:
        try:
            if head and len(data):
                udp.handle.sendmsg((head, data), (), 0, destination)
            else:
                udp.handle.sendto(head or data, destination)
        except OSError:
            self._stats.send_errors += 1
