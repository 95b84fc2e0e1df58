"""A connection of ours on a transport that only remembers, so that a test sees each write and plays the peer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from app.ws import connection
from app.ws.connection import TAKE_OVER, Connection
from app.ws.crowd import Crowd, CrowdSettings
from app.ws.handshake import Opening

Application = Callable[[Any, Any, Any], Any]
OPENING = Opening(b"proof", ("a",))
HEAD: Any = {"scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 9), "headers": [(b"host", b"x")]}


def masked(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    """A client's frame, its bits as they are given."""
    return bytes((opcode | 0x80 * fin,)) + Frame(Opcode.BINARY, payload).serialize(mask=True)[1:]


class Wire(asyncio.Transport):
    """A transport whose peer takes what it is sent unless `unsent` says otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unsent = 0
        self.is_paused = self.has_eof = False
        self.is_closed = asyncio.Event()
        self.has_resumed = asyncio.Event()
        self.was_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self.has_resumed.set()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def is_closing(self) -> bool:
        return self.is_closed.is_set()

    def close(self) -> None:
        self.is_closed.set()

    def abort(self) -> None:
        self.was_aborted = True
        self.is_closed.set()


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.ends: list[tuple[int, str] | None] = []
        self.has_ended = asyncio.Event()
        self.text: Callable[[str | bytes], None] = self.messages.append
        self.binary = self.late = self.text

    def closed(self, end: tuple[int, str] | None) -> None:
        self.ends.append(end)

    async def ended(self) -> None:
        assert not self.has_ended.is_set()
        self.has_ended.set()


class Opened:
    """One websocket and both its sides."""

    def __init__(self, application: Application, settings: CrowdSettings) -> None:
        self.wire, self.heard, self.crowd, self.state = Wire(), Heard(), Crowd(settings), ServerState()
        config = uvicorn.Config(application, lifespan="off", log_config=None)
        config.load()
        self.connection: Connection = connection.factory(self.crowd)(config, self.state, {})

    def open(self) -> None:
        self.connection.open(self.wire, HEAD, b"/a%20b?q=1", OPENING)

    def sees(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.data_received(piece)

    async def turns(self, count: int = 2) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    def lose(self) -> None:
        self.wire.is_closed.set()
        self.connection.connection_lost(None)


@asynccontextmanager
async def opened(
    application: Application | None = None,
    handshake: Callable[[Opened, Any], Coroutine[Any, Any, None]] | None = None,
    **settings: float,
) -> AsyncIterator[Opened]:
    """An open websocket that a listener has taken over, or what the application or the handshake makes of it."""

    async def take_over(scope: Any, receive: Any, send: Any) -> None:
        if handshake is not None:
            await handshake(both, receive)
            return
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][TAKE_OVER].take_over(both.heard)

    both = Opened(application or take_over, CrowdSettings(**settings))  # type: ignore[arg-type]
    both.open()
    await both.turns()
    if application is None and handshake is None:
        both.wire.writes.clear()
    try:
        yield both
    finally:
        both.lose()
        async with asyncio.timeout(15):
            while both.state.tasks:
                await asyncio.wait(set(both.state.tasks))
