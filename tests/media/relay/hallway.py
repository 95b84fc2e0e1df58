"""A hall with real connections, and a relay behind it that only notes what comes and echoes ChannelData."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable

from media.relay.acceptor import Acceptor
from media.relay.doors import Doors
from media.relay.hall import Hall
from media.relay.readiness import Readiness
from media.turn import channel_data, stun
from media.turn.address import SocketAddress
from media.turn.admission import Admission, StreamBounds
from media.turn.effects import TurnStats
from media.turn.framing import FIRST_OF_CHANNELS

REQUEST = stun.encode(stun.Message(stun.BINDING, stun.REQUEST, bytes(12), []))
REPLY = stun.encode(stun.Message(stun.BINDING, stun.SUCCESS, bytes(12), []))


def channel(data: bytes, number: int = 0x4000) -> bytes:
    """A ChannelData message as streams have it."""
    return channel_data.header(number, len(data)) + data + bytes(-len(data) % 4)


class NotingRelay:
    """Answers Binding, echoes ChannelData, gives allocations as the test says."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.messages: list[bytes] = []
        self.allocated: set[int] = set()
        self.left: list[int] = []
        self.fault: Exception | None = None

    def receive(self, number: int, message: memoryview, source: SocketAddress, now: float) -> None:
        if self.fault is not None:
            raise self.fault
        self.messages.append(bytes(message))
        if message[0] >= FIRST_OF_CHANNELS:
            self.doors.send(number, bytes(message[:4]), message[4:])
        else:
            self.doors.send(number, b"", REPLY)

    def flush(self) -> None:
        self.doors.flush()

    def gone(self, number: int, source: SocketAddress, now: float) -> None:
        self.left.append(number)
        self.allocated.discard(number)

    def has_allocation(self, number: int, source: SocketAddress) -> bool:
        return number in self.allocated


class Entrance:
    """A hall that is open at `address`."""

    def __init__(self, listener: socket.socket, bounds: StreamBounds, tls: ssl.SSLContext | None) -> None:
        self.stats = TurnStats()
        self.doors = Doors(self.stats)
        self.relay = NotingRelay(self.doors)
        loop = asyncio.get_running_loop()
        self.readiness = Readiness(loop)
        self.hall = Hall(self.relay, self.doors, self.stats, Admission(bounds), bounds, loop, self.readiness, tls, 0x4F)
        self.acceptor = Acceptor(self.hall, [listener])
        self.address = listener.getsockname()

    @property
    def number(self) -> int:
        """The number of the one connection that is open."""
        (number,) = self.hall.connections
        return number

    async def until(self, is_true: Callable[[], object]) -> None:
        while not is_true():  # noqa: ASYNC110  # no event tells of the other end's kernel
            await asyncio.sleep(0)

    async def empty(self) -> None:
        await self.until(lambda: not self.hall.connections)


@contextlib.asynccontextmanager
async def entrance(
    tls: ssl.SSLContext | None = None, kind: type[socket.socket] = socket.socket, **bounds: float
) -> AsyncIterator[Entrance]:
    with kind(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # connections take it over: slow ones show soon
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        entered = Entrance(listener, StreamBounds(**bounds), tls)  # type: ignore[arg-type]
        entered.acceptor.start()
        try:
            async with asyncio.timeout(15):
                yield entered
        finally:
            entered.acceptor.stop()
            entered.doors.close_all()
            entered.readiness.close()
        assert not entered.hall.connections
        assert len(entered.hall.admission) == 0


class Caller:
    """A client on a plain TCP socket."""

    def __init__(self, entered: Entrance, receive_buffer_bytes: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(entered.address)
        self.socket.setblocking(False)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self, size: int) -> bytes:
        """Return `size` bytes, or less when the other end closes."""
        data = b""
        while len(data) < size:
            piece = await asyncio.get_running_loop().sock_recv(self.socket, size - len(data))
            if not piece:
                break
            data += piece
        return data

    async def asks(self) -> None:
        await self.send(REQUEST)
        assert await self.receive(len(REPLY)) == REPLY

    async def allocates(self, entered: Entrance) -> int:
        """Get an allocation; return the number of the connection, which is the newest."""
        await self.asks()
        number = max(entered.hall.connections)
        entered.relay.allocated.add(number)
        await self.asks()
        return number

    async def is_closed(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await self.receive(1) == b""
        return True


class TlsCaller(Caller):
    """A client that speaks TLS on memory BIOs, so that a test has each record in hand."""

    def __init__(self, entered: Entrance, context: ssl.SSLContext, name: str | None = "localhost") -> None:
        super().__init__(entered)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    async def shake_hands(self) -> "TlsCaller":
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await super().send(self.outgoing.read())
                self.incoming.write(await asyncio.get_running_loop().sock_recv(self.socket, 65536))
            else:
                await super().send(self.outgoing.read())
                return self

    async def send(self, data: bytes) -> None:
        self.tls.write(data)
        await super().send(self.outgoing.read())

    async def record(self) -> bytes:
        """Return the next record, empty when the other end said goodbye."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.incoming.write(await asyncio.get_running_loop().sock_recv(self.socket, 65536))

    async def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := await self.record()):
            data += piece
        return data
