"""Whether the installed uvicorn takes our websockets: one is opened through the same door before any peer's.

uvicorn promises nothing about the seam; a release that changes it must cost speed, not the service.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from app.exits import CommandError, Exit
from app.ws import connection, frames
from app.ws.connection import TAKE_OVER, Connection
from app.ws.crowd import Crowd

LIMIT_S: Final = 10.0  # it takes milliseconds, but on a machine that stalls
_HEAD: Final = (
    b"GET / HTTP/1.1\r\nHost: seam\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_HELLO: Final = b"\x81\x85\0\0\0\0hello"  # masked with zeros
_CLOSE: Final = b"\x88\x82\0\0\0\0\x03\xe8"
log = logging.getLogger(__name__)


class SeamError(CommandError):
    """The installed uvicorn does not take our websockets."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"WEBSOCKET: the installed uvicorn does not take our own: {reason}", Exit.FAILURE)


class _Echo:
    def __init__(self, own: Connection) -> None:
        self._own = own

    def text(self, message: str) -> None:
        self._own.send(message.encode())

    def binary(self, data: bytes) -> None:
        """Nothing to do."""

    late = None

    def closed(self, end: tuple[int, str] | None) -> None:
        """Nothing to do."""

    async def ended(self) -> None:
        """Nothing to do."""


async def _application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    own = scope["extensions"][TAKE_OVER]
    own.take_over(_Echo(own))


async def check(http: Any) -> None:
    """Do nothing when a websocket opens, echoes and closes behind this class of uvicorn's HTTP. Raises: SeamError."""
    if not frames.IS_MASKING_COMPILED:
        log.warning("websockets lacks its compiled part: each message costs many times more")
    try:
        async with asyncio.timeout(LIMIT_S):
            await _try(http)
    except Exception as error:  # whatever a uvicorn that we have never seen does
        raise SeamError(f"{type(error).__name__}: {error}") from error


async def _try(http: Any) -> None:
    ws: Any = connection.factory(Crowd())
    config = uvicorn.Config(_application, http=http, ws=ws, lifespan="off", log_config=None)
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(lambda: http(config, state, {}), ours)
        try:
            await _expect(theirs, _HEAD, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
            await _expect(theirs, _HELLO, frames.text_header(5) + b"hello")
            await _expect(theirs, _CLOSE, frames.close(frames.NORMAL))
        finally:
            transport.abort()
    if state.tasks:
        await asyncio.wait(set(state.tasks))


async def _expect(client: socket.socket, sent: bytes, end: bytes) -> None:
    """Send, and read what ends so."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, sent)
    heard = b""
    while not heard.endswith(end):
        piece = await loop.sock_recv(client, 4096)
        if not piece:
            raise SeamError(f"the connection ended after {heard!r}")
        heard += piece
