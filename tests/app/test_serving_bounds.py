"""What one client may cost the server in memory and time."""

import asyncio
import socket
import time
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.serving import FRAME_BYTES, HEAD_S, WebSockets
from app.ws.connection import Connection
from tests.app.served import Echo, get, nothing, say_hello, serving


async def test_a_client_that_answers_nothing_does_not_hold_the_end_up(websocket: WebSockets) -> None:
    echo = Echo()
    with socket.socket() as client:
        async with serving(echo, echo.drain, websocket=websocket) as (place, _):
            host, port = place.split(":")
            client.connect((host, int(port)))
            client.setblocking(False)
            head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            client.sendall(f"GET /viewer HTTP/1.1\r\nHost: {place}\r\n{head}\r\n{key}\r\n\r\n".encode())
            assert await asyncio.get_running_loop().sock_recv(client, 1000)
            started = time.monotonic()
        assert time.monotonic() - started < 8, "a handshake of the close that nobody answers takes ten seconds"


async def test_a_frame_over_the_cap_closes_the_socket(websocket: WebSockets) -> None:
    async def hear(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass

    async with (
        serving(hear, nothing, websocket=websocket) as (place, _),
        connect(f"ws://{place}/viewer", compression=None) as client,
    ):
        await client.send("x" * (FRAME_BYTES + 1))
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


class Hearing(Echo):
    """A websocket application that says when it has heard a message."""

    def __init__(self) -> None:
        super().__init__()
        self.has_heard = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        self.has_heard.set()


PING = b"\x89\xfd" + bytes(4) + b"x" * 125  # masked with zeros


@pytest.mark.slow
async def test_pongs_that_nobody_reads_do_not_pile_up(websocket: WebSockets) -> None:
    hearing = Hearing()
    async with serving(hearing, hearing.drain, websocket=websocket) as (place, server):
        host, port = place.split(":")
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the kernel takes most of the pongs
        plain.connect((host, int(port)))
        async with connect(f"ws://{place}/viewer", sock=plain, compression=None, ping_interval=None) as client:
            client.transport.pause_reading()
            client.transport.write(PING * 60_000)
            client.protocol.send_text(b"the last one")
            client.transport.write(b"".join(client.protocol.data_to_send()))
            async with asyncio.timeout(15):
                await hearing.has_heard.wait()
            (connection,) = server.server_state.connections
            is_own = isinstance(connection, Connection)
            waiting = connection.unsent_bytes if is_own else connection.transport.get_write_buffer_size()
            client.transport.abort()
    assert waiting < 1_000_000


async def hear_all(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body."""
    length, is_more = 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, is_more = length + len(message["body"]), message["more_body"]
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


START = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (START, b"x: " + b"y" * 1000 + b"\r\n"),
        (START + b"x: ", b"y" * 1000),
        (b"GET /", b"y" * 1000),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"x: " + b"y" * 1000 + b"\r\n"),
        (CHUNKED, b"1;" + b"y" * 1000 + b"\r\na\r\n"),
    ],
    ids=["headers", "a header", "a path", "trailers", "chunk extensions"],
)
async def test_a_request_cannot_grow_without_end_beside_its_body(head: bytes, more: bytes) -> None:
    async with serving(hear_all, nothing) as (place, server):
        reader, writer = await asyncio.open_connection(*place.split(":"))
        writer.write(head)
        with pytest.raises(ConnectionError):  # noqa: PT012  # whichever write the end meets
            for _ in range(4000):
                writer.write(more)
                await writer.drain()
            await reader.read()
            raise AssertionError("4 MB were taken")
        writer.close()
        assert not server.server_state.connections


async def test_what_clients_send_is_far_below_the_bound() -> None:
    body = b"a" * 60_000
    chunks = b"".join(b"400\r\n" + b"a" * 1024 + b"\r\n" for _ in range(60)) + b"0\r\n\r\n"
    long_head = START + b"".join(b"h%d: %s\r\n" % (i, b"y" * 1000) for i in range(50))
    requests = [START + b"Content-Length: 60000\r\n\r\n" + body, CHUNKED + chunks, long_head + b"\r\n"] * 20
    async with serving(hear_all, nothing) as (place, _):
        reader, writer = await asyncio.open_connection(*place.split(":"))
        async with asyncio.TaskGroup() as group:
            group.create_task(_write(writer, b"".join(requests)))
            for number in range(len(requests)):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                length = (b"60000", b"61440", b"0")[number % 3]
                assert await reader.readexactly(len(length)) == length
        writer.close()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", b"GET / HT", START, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /"])
async def test_a_head_that_does_not_come_is_not_waited_for(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serving.HEAD_S", 0.1)
    async with serving(say_hello, nothing) as (place, _):
        reader, writer = await asyncio.open_connection(*place.split(":"))
        writer.write(first)
        async with asyncio.timeout(15):
            await reader.read()
        writer.close()


async def test_an_open_websocket_and_a_slow_answer_outlive_the_wait_for_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    echo, loop = Echo(), asyncio.get_running_loop()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
            return
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + HEAD_S + 1)
        await asyncio.sleep(0.01)  # what is due by that time is done
        await say_hello(scope, receive, send)

    async with serving(answer, echo.drain) as (place, _), connect(f"ws://{place}/viewer") as client:
        assert (await asyncio.to_thread(get, f"http://{place}/"))[0] == b"hello"
        await asyncio.wait_for(await client.ping(), 15)
