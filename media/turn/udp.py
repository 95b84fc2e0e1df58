"""UDP sockets of the relay: drain loop and segmented sends. No rule of TURN; the seam for a compiled path."""

import errno
import socket
import sys
from collections.abc import Callable, Sequence

from media.turn.address import SocketAddress
from media.turn.effects import Buffer, Effect, TurnStats

Judge = Callable[[int, memoryview, SocketAddress, float], Sequence[Effect]]
"""Says what a datagram leads to: the number of the socket, the datagram, its source, now."""

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
    """One bound socket; `most_segment_bytes` sinks when segmented sends of a size turn out to fail."""

    __slots__ = ("handle", "most_segment_bytes")

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle
        self.most_segment_bytes = MOST_SEGMENT_BYTES[socket.AddressFamily(handle.family)]


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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    handle = socket.socket(family, socket.SOCK_DGRAM)
    try:
        handle.setblocking(False)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if is_beside_wildcard:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_port_shared:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


class Inbox:
    """Receives into slots that are made once and has the effects performed, datagram by datagram.

    A slot holds the largest datagram: a smaller one would cut silently.
    """

    def __init__(self, stats: TurnStats, perform: Callable[[Sequence[Effect]], None]) -> None:
        whole = memoryview(bytearray(BUDGET * SLOT_BYTES))
        self._slots = [whole[at : at + SLOT_BYTES] for at in range(0, BUDGET * SLOT_BYTES, SLOT_BYTES)]
        self._stats = stats
        self._perform = perform

    def drain(self, handle: socket.socket, key: int, judge: Judge, now: float) -> None:
        """Let `judge` see what is there, until the socket is empty or the budget is spent.

        `key` is the socket's name to `judge`. Each datagram lies in a slot of its own until the next drain.
        """
        receive, perform = handle.recvfrom_into, self._perform
        for slot in self._slots:
            try:
                length, source = receive(slot)
            except BlockingIOError:
                return
            except OSError:
                # ICMP towards one peer or client: a lost packet, never the end of the socket
                self._stats.receive_errors += 1
                continue
            effects = judge(key, slot[:length], source, now)
            if effects:
                perform(effects)


class Outbox:
    """Sends datagrams in order; runs to one destination go out as one segmented send.

    A run is of equal lengths, the last may be shorter and ends it. Buffers must stay good until `flush`. A full
    socket buffer or an unreachable destination is a lost packet.
    """

    def __init__(self, stats: TurnStats) -> None:
        self._stats = stats
        self._socket: UdpSocket | None = None
        self._destination: SocketAddress = ("", 0)
        self._parts: list[Buffer] = []
        self._segment_bytes = 0
        self._run_bytes = 0
        self._most_run_bytes = 0

    def send(self, udp: UdpSocket, destination: SocketAddress, head: bytes, data: Buffer) -> None:
        """Send `head` and `data` as one datagram, now or with the run that it belongs to."""
        size = len(head) + len(data)
        if (
            udp is self._socket
            and 0 < size <= self._segment_bytes
            and self._run_bytes + size <= self._most_run_bytes
            and destination == self._destination
        ):
            self._run_bytes += size
            if head:
                self._parts.append(head)
            self._parts.append(data)
            if size < self._segment_bytes:
                self.flush()
            return
        self.flush()
        parts = [head, data] if head else [data]
        if 0 < size <= udp.most_segment_bytes:
            self._socket, self._destination, self._parts = udp, destination, parts
            self._segment_bytes = self._run_bytes = size
            self._most_run_bytes = min(MOST_SEGMENTS * size, MOST_RUN_BYTES)
        else:
            self._send_one(udp, destination, parts)

    def flush(self) -> None:
        """Send what is collected."""
        udp = self._socket
        if udp is None:
            return
        self._socket = None
        if self._run_bytes == self._segment_bytes:
            self._send_one(udp, self._destination, self._parts)
        elif not self._send_run(udp):
            whole = b"".join(self._parts)
            for at in range(0, len(whole), self._segment_bytes):
                self._send_one(udp, self._destination, [whole[at : at + self._segment_bytes]])

    def _send_run(self, udp: UdpSocket) -> bool:
        segment = self._segment_bytes.to_bytes(2, sys.byteorder)
        try:
            udp.handle.sendmsg(self._parts, [(_SOL_UDP, _UDP_SEGMENT, segment)], 0, self._destination)
        except OSError as error:
            if error.errno in _NO_SEGMENTATION:
                # EIO: the device cannot do it at all; else these segments exceed the MTU towards one destination,
                # which must not cost the others their runs
                udp.most_segment_bytes = 0 if error.errno == errno.EIO else self._segment_bytes - 1
                return False
            self._stats.send_errors += -(-self._run_bytes // self._segment_bytes)
        return True

    def _send_one(self, udp: UdpSocket, destination: SocketAddress, parts: list[Buffer]) -> None:
        try:
            if len(parts) == 1:
                udp.handle.sendto(parts[0], destination)
            else:
                udp.handle.sendmsg(parts, (), 0, destination)
        except OSError:
            self._stats.send_errors += 1
