"""What goes to a websocket at once, and what to HTTP."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app import seam
from app.door import Door
from app.serving import FrontDoor, HttpProtocol

HEAD = (
    b"GET /viewer?a=%20b HTTP/1.1\r\nHost: here\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-One: 1\r\n\r\n"
)


class Opened(asyncio.Protocol):
    """What the door opens: it writes what it was given."""

    scope: Any = None

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def open(self, transport: asyncio.Transport, scope: Any, url: bytes, opening: Any) -> None:
        type(self).scope = scope
        transport.write(b"opened " + url + b" " + opening.accept)
        transport.close()


class Http(HttpProtocol):
    """HTTP that says that it was asked."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"http " + data)
        self.transport.close()


class Tried(Door):
    http = Http


class Connections(set[Any]):
    """They tell when one has come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def add(self, element: Any) -> None:
        super().add(element)
        self.came.set()


@pytest.fixture
def state() -> ServerState:
    return ServerState()


async def answer(state: ServerState, pieces: Sequence[bytes]) -> bytes:
    """All that comes back."""
    config = uvicorn.Config(seam._application, ws=Opened, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Tried(config, state, {"one": 1}), "127.0.0.1")
    async with server, asyncio.timeout(15):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
    return heard


async def test_a_whole_opening_is_a_websocket_s_at_once(state: ServerState) -> None:
    heard = await answer(state, [HEAD])
    assert heard == b"opened /viewer?a=%20b s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    scope = Opened.scope
    assert scope["scheme"] == "http"
    host, port = scope["client"]
    assert (host, port > 0) == ("127.0.0.1", True)
    assert scope["state"] == {"one": 1}
    assert scope["headers"][0] == (b"host", b"here")
    assert scope["headers"][-1] == (b"x-one", b"1")
    assert not state.connections


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"/viewer", b"/" + b"a" * 17_000),
        HEAD.replace(b"WebSocket", b"h2c"),
        HEAD.replace(b"keep-alive, Upgrade", b"keep-alive"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD.replace(b"Version: 13", b"Version: 8"),
        HEAD.replace(b"GET", b"POST"),
        HEAD.replace(b"X-One: 1", b"X One: 1"),
        HEAD + b"\x81\x80",  # the peer may not go on yet (RFC 6455, 4.1)
        HEAD[:-2],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_all_else_is_read_by_http_from_its_first_byte(state: ServerState, head: bytes) -> None:
    heard = await answer(state, [head])
    assert heard.startswith(b"http " + head[:100])
    assert not [found for found in state.connections if isinstance(found, Door)]


async def test_a_connection_that_says_nothing_is_closed_in_time(
    state: ServerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.serving.HEAD_S", 0.01)
    assert await answer(state, []) == b""
    assert not state.connections


async def test_a_connection_that_says_nothing_ends_with_the_server(state: ServerState) -> None:
    state.connections = connections = Connections()
    answering = asyncio.create_task(answer(state, []))
    async with asyncio.timeout(15):
        await connections.came.wait()
    (door,) = connections
    door.shutdown()
    assert await answering == b""


async def test_the_installed_uvicorn_takes_it() -> None:
    await seam.check(FrontDoor)
