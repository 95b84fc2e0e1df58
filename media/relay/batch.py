"""Receives many datagrams by one system call: recvmmsg(2) of the C library where it is there, else one by one.

Only fixed buffers made here are handed to the kernel, and it fills them; nothing of what it wrote is followed.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Hashable, Sequence

from media.turn.address import SocketAddress
from media.turn.routes import DownRoute
from media.turn.slots import SLOT_BYTES, Slots

_NAME_BYTES = 32
_IPV6_NAME_BYTES = 28
_POINTER_BYTES = 8
_IPV4, _DONT_WAIT = int(socket.AF_INET), int(getattr(socket, "MSG_DONTWAIT", 0))  # plain: enums cost time each time

MOST_ERRORS = 64
"""How many errors of a socket are taken away at a time: some come again and again, as where this call is forbidden."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Head(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("head", _Head), ("length", ctypes.c_uint32))


_MESSAGE_QUADS = ctypes.sizeof(_Message) // 8


class Batch:
    """What one receive found: `lengths` and `sources`, one for each datagram in the slots from `offset` on.

    A source is a key that is equal for equal addresses of one socket; `address` tells what it stands for.
    """

    def __init__(self, slots: Slots, offset: int) -> None:
        self.errors = 0
        self.lengths: Sequence[int] = ()
        self.sources: Sequence[Hashable] = ()
        self._buffers = [view[offset:] for view in slots.views]
        self._views = slots.views

    def receive(self, handle: socket.socket) -> int:
        """Take what waits at a socket, as many as there are slots; count errors, which are ICMP towards one peer."""
        received: list[tuple[int, SocketAddress]] = []
        for _ in range(MOST_ERRORS):
            try:
                # what was received before an error stays in the list
                received.extend(map(handle.recvfrom_into, self._buffers[len(received) :]))
                break
            except BlockingIOError:
                break
            except OSError:
                self.errors += 1
        self.lengths = [length for length, _ in received]
        self.sources = [source for _, source in received]
        return len(received)

    def send_back(self, handle: socket.socket, answers: Sequence[tuple[int, int]]) -> int:
        """Send to each source what lies at the begin of its slot, by index and size; return how many were lost."""
        lost = 0
        for index, size in answers:
            try:
                handle.sendto(self._views[index][:size], self.address(index))
            except OSError:
                lost += 1
        return lost

    def address(self, index: int) -> SocketAddress:
        """Return the address of a source."""
        source: SocketAddress = self.sources[index]  # type: ignore[assignment]  # as the socket gave it
        return source


class ManyAtOnce(Batch):
    """A batch by recvmmsg(2)."""

    def __init__(self, slots: Slots, offset: int) -> None:
        super().__init__(slots, offset)
        count = len(slots.views)
        self._names = bytearray(count * _NAME_BYTES)
        self._keep = [ctypes.c_char.from_buffer(slots.whole), ctypes.c_char.from_buffer(self._names)]
        base, names = (ctypes.addressof(each) for each in self._keep)
        size = SLOT_BYTES
        self._vectors = (_Vector * count)(*[_Vector(base + at * size + offset, size - offset) for at in range(count)])
        self._messages = (_Message * count)()
        for at, message in enumerate(self._messages):
            message.head.name, message.head.name_length = names + at * _NAME_BYTES, _IPV6_NAME_BYTES
            message.head.vectors = ctypes.addressof(self._vectors) + at * ctypes.sizeof(_Vector)
            message.head.vector_count = 1
        self._table = memoryview(self._messages).cast("B")
        self._fresh = bytes(self._table)
        self._numbers = memoryview(self._table).cast("I")
        self._step = ctypes.sizeof(_Message) // 4
        self._length_at = _Message.length.offset // 4
        self._quads, self._families = memoryview(self._names).cast("Q"), memoryview(self._names).cast("H")
        library = ctypes.PyDLL(None, use_errno=True)  # it does not block: no reason to let another thread run
        self._receive, self._send = library.recvmmsg, library.sendmmsg
        self._receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._answer_vectors = (_Vector * count)()
        self._answers = (_Message * count)()
        for at, message in enumerate(self._answers):
            message.head.name_length, message.head.vector_count = _IPV6_NAME_BYTES, 1
            message.head.vectors = ctypes.addressof(self._answer_vectors) + at * ctypes.sizeof(_Vector)
        self._answer_heads = memoryview(self._answers).cast("B").cast("Q")
        self._answer_parts = memoryview(self._answer_vectors).cast("B").cast("Q")
        self._begins = [base + at * size for at in range(count)]
        self._name_begins = [names + at * _NAME_BYTES for at in range(count)]
        self._pointer = ctypes.c_void_p(ctypes.addressof(self._messages))
        self._count = count

    def receive(self, handle: socket.socket) -> int:
        """See above."""
        descriptor, quads = handle.fileno(), self._quads
        found: int = self._receive(descriptor, self._pointer, self._count, _DONT_WAIT, None)
        for _ in range(MOST_ERRORS):
            if found >= 0:
                break
            if ctypes.get_errno() == errno.EAGAIN:
                self.lengths = self.sources = ()
                return 0
            self.errors += 1
            found = self._receive(descriptor, self._pointer, self._count, _DONT_WAIT, None)
        found = max(found, 0)
        self.lengths = self._numbers[self._length_at : found * self._step : self._step].tolist()
        end = 4 * found
        if self._families[0] == _IPV4:  # all sources of a socket are of one
            self.sources = quads[:end:4].tolist()  # family, port and address
        else:
            self.sources = list(zip(*(quads[at:end:4].tolist() for at in range(4)), strict=True))
        self._table[:] = self._fresh  # the kernel has written the lengths of the names over ours
        return found

    def send_back(self, handle: socket.socket, answers: Sequence[tuple[int, int]]) -> int:
        """See above."""
        heads, parts, begins, names = self._answer_heads, self._answer_parts, self._begins, self._name_begins
        for at, (index, size) in enumerate(answers):
            heads[at * _MESSAGE_QUADS] = names[index]
            parts[2 * at] = begins[index]
            parts[2 * at + 1] = size
        lost = at = 0
        while at < len(answers):
            pointer = ctypes.addressof(self._answers) + at * ctypes.sizeof(_Message)
            gone = self._send(handle.fileno(), pointer, len(answers) - at, _DONT_WAIT)
            if gone <= 0:
                lost, gone = lost + 1, 1
            at += gone
        return lost

    def address(self, index: int) -> SocketAddress:
        """See above."""
        name = self._names[index * _NAME_BYTES : (index + 1) * _NAME_BYTES]
        port = int.from_bytes(name[2:4])
        if int.from_bytes(name[:2], sys.byteorder) == _IPV4:
            return socket.inet_ntoa(name[4:8]), port
        flow, scope = int.from_bytes(name[4:8]), int.from_bytes(name[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, flow, scope


def best_batch(slots: Slots, offset: int) -> Batch:
    """Return the quick one where it works on this system."""
    if ctypes.sizeof(ctypes.c_void_p) != _POINTER_BYTES:
        return Batch(slots, offset)
    try:
        batch = ManyAtOnce(slots, offset)
        return batch if _works(batch) else Batch(slots, offset)
    except (AttributeError, OSError):
        return Batch(slots, offset)


def _works(batch: Batch) -> bool:
    """Try it: another C library may lay its structures out in another way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        handle.bind(("127.0.0.1", 0))
        handle.setblocking(False)
        own = handle.getsockname()
        for text in (b"one", b"three", b""):
            handle.sendto(text, own)
        return (
            batch.receive(handle) == 3
            and list(batch.lengths) == [3, 5, 0]
            and [batch.address(at) for at in range(3)] == [own] * 3
            and batch.send_back(handle, [(2, 1), (0, 2)]) == 0
            and batch.receive(handle) == 2
            and list(batch.lengths) == [1, 2]
        )


class Posts:
    """Sends datagrams out of slots, each to a client of its own; `count` are those that are not sent yet."""

    def __init__(self, slots: Slots) -> None:
        self._views = slots.views
        self._waiting: list[tuple[memoryview, SocketAddress]] = []
        self.count = 0

    def add(self, index: int, start: int, length: int, route: DownRoute) -> None:
        """Take a part of a slot, which must stay good until `send`, at most as many as there are slots."""
        self._waiting.append((self._views[index][start : start + length], route.client_address))
        self.count += 1

    def send(self, handle: socket.socket) -> int:
        """Send all in order and return how many were lost."""
        lost, self.count = 0, 0
        for packet, destination in self._waiting:
            try:
                handle.sendto(packet, destination)
            except OSError:
                lost += 1
        self._waiting.clear()
        return lost


class ManyPosts(Posts):
    """Posts by sendmmsg(2)."""

    def __init__(self, slots: Slots) -> None:
        super().__init__(slots)
        count = len(slots.views)
        self._names = bytearray(count * _NAME_BYTES)
        self._keep = [ctypes.c_char.from_buffer(slots.whole), ctypes.c_char.from_buffer(self._names)]
        base, names = (ctypes.addressof(each) for each in self._keep)
        self._begins = [base + at * SLOT_BYTES for at in range(count)]
        self._vectors = (_Vector * count)()
        self._messages = (_Message * count)()
        for at, message in enumerate(self._messages):
            message.head.name, message.head.name_length = names + at * _NAME_BYTES, _IPV6_NAME_BYTES
            message.head.vectors = ctypes.addressof(self._vectors) + at * ctypes.sizeof(_Vector)
            message.head.vector_count = 1
        self._parts = memoryview(self._vectors).cast("B").cast("Q")
        self._send = ctypes.PyDLL(None, use_errno=True).sendmmsg
        self._send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)

    def add(self, index: int, start: int, length: int, route: DownRoute) -> None:
        """See above."""
        at = self.count
        self._names[at * _NAME_BYTES : (at + 1) * _NAME_BYTES] = route.name or _named(route)
        self._parts[2 * at], self._parts[2 * at + 1] = self._begins[index] + start, length
        self.count = at + 1

    def send(self, handle: socket.socket) -> int:
        """See above."""
        count, self.count = self.count, 0
        lost = at = 0
        while at < count:
            pointer = ctypes.addressof(self._messages) + at * ctypes.sizeof(_Message)
            gone = self._send(handle.fileno(), pointer, count - at, _DONT_WAIT)
            if gone <= 0:
                lost, gone = lost + 1, 1  # it stops at the first that fails
            at += gone
        return lost


def _named(route: DownRoute) -> bytes:
    host, port, *more = route.client_address
    if ":" in host:
        flow, scope = more
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        name = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, flow) + packed + struct.pack("=I", scope)
    else:
        name = struct.pack("=H", _IPV4) + struct.pack("!H", port) + socket.inet_aton(host)
    route.name = name.ljust(_NAME_BYTES, b"\0")
    return route.name


def best_posts(slots: Slots) -> Posts:
    """Return the quick ones where they work on this system: where a batch does, which has the same structures."""
    return ManyPosts(slots) if type(best_batch(Slots(3), 0)) is ManyAtOnce else Posts(slots)
