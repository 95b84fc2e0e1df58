import asyncio
import socket
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.listen import listen
from app.serving import FRAME_BYTES, HttpServer
from app.tls import TlsContext, TlsListener
from tests.certificates import made, trusting

Application = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def serving_tls(application: Application, folder: Path) -> AsyncIterator[tuple[int, HttpServer, ssl.SSLContext]]:
    """Serve an application with and without TLS; gives the TLS port, the server and the context of a client."""
    drain = getattr(application, "drain", nothing)
    with listen("127.0.0.1", 0, "http_port") as listener, listen("127.0.0.1", 0, "https_port") as tls_listener:
        files = made(folder)
        tls = TlsListener(tls_listener, TlsContext(files.pair), files.ca)
        server = HttpServer(application, listener, drain, tls)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(server.run_until_exit())
            await server.is_up.wait()
            yield tls.port, server, trusting(files.ca)
            server.should_exit = True
            await running


@asynccontextmanager
async def serving(application: Application, drain: Callable[[], Awaitable[None]]) -> AsyncIterator[tuple[str, Any]]:
    """Serve an application; gives its place and the server."""
    with listen("127.0.0.1", 0, "http_port") as listener:
        server = HttpServer(application, listener, drain)
        place = "127.0.0.1:" + str(listener.getsockname()[1])
        async with asyncio.TaskGroup() as group:
            running = group.create_task(server.run_until_exit())
            await server.is_up.wait()
            yield place, server
            server.should_exit = True
            await running


async def nothing() -> None:
    return


async def say_hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_it_serves_on_the_socket_that_it_was_handed() -> None:
    async with serving(say_hello, nothing) as (place, _):
        answer = await asyncio.to_thread(_get, f"http://{place}/")
    assert answer == (b"hello", None)


def _get(url: str) -> tuple[bytes, str | None]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read(), answer.headers["server"]


class Echo:
    """A websocket application that closes with 1001 once it is told to go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.go.wait()
        await send({"type": "websocket.close", "code": 1001, "reason": "this node is going away"})

    async def drain(self) -> None:
        self.go.set()


UPGRADE = (
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


@pytest.mark.parametrize(
    ("start", "headers", "status"),
    [
        ("GET /viewer HTTP/1.1", UPGRADE, 101),
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Sec-WebSocket-Protocol: a, b", "Origin: https://example.com"), 101),
        ("GET /viewer HTTP/1.1", UPGRADE[:3], 400),
        ("GET /viewer HTTP/1.1", (*UPGRADE, UPGRADE[3]), 400),
        ("GET /viewer HTTP/1.1", (*UPGRADE[:4], "Sec-WebSocket-Version: 8"), 400),
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Upgrade: websocket"), 426),
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Sec-WebSocket-Protocol: a b"), 400),
        ("GET /viewer HTTP/1.1", (*UPGRADE, "X: " + "x" * 9000), 431),
        ("GET /" + "x" * 9000 + " HTTP/1.1", UPGRADE, 414),
        ("POST /viewer HTTP/1.1", UPGRADE, 405),
    ],
)
async def test_a_handshake_is_answered_by_its_head(start: str, headers: tuple[str, ...], status: int) -> None:
    echo = Echo()
    echo.go.set()
    async with serving(echo, nothing) as (place, _):
        host, port = place.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write("\r\n".join((start, *headers, "", "")).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert int(answer.split()[1]) == status
    assert (b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer) is (status == 101)


async def test_the_application_sees_the_head_as_it_came() -> None:
    seen: dict[str, Any] = {}

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-id", b"7")]})
        await send({"type": "websocket.close"})

    async with (
        serving(look, nothing) as (place, _),
        connect(f"ws://{place}/a%2Fb//c?X=%C3%A9&Y", subprotocols=[Subprotocol("a"), Subprotocol("b")]) as client,
    ):
        await client.wait_closed()
    assert client.response is not None
    assert (client.subprotocol, client.response.headers["x-id"]) == ("b", "7")
    assert client.response.headers["date"]
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/a/b//c", b"/a%2Fb//c", b"X=%C3%A9&Y")
    assert (seen["type"], seen["scheme"], seen["subprotocols"]) == ("websocket", "ws", ["a", "b"])
    assert dict(seen["headers"])[b"host"] == place.encode()
    assert seen["client"][0] == "127.0.0.1"


async def test_the_close_code_of_the_drain_reaches_the_client() -> None:
    echo = Echo()
    async with serving(echo, echo.drain) as (place, server), connect(f"ws://{place}/viewer") as client:
        server.should_exit = True
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "this node is going away")


async def test_a_client_that_answers_nothing_does_not_hold_the_end_up() -> None:
    echo = Echo()
    with socket.socket() as client:
        async with serving(echo, echo.drain) as (place, _):
            host, port = place.split(":")
            client.connect((host, int(port)))
            client.setblocking(False)
            head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            client.sendall(f"GET /viewer HTTP/1.1\r\nHost: {place}\r\n{head}\r\n{key}\r\n\r\n".encode())
            assert await asyncio.get_running_loop().sock_recv(client, 1000)
            started = time.monotonic()
        assert time.monotonic() - started < 2


async def test_a_frame_over_the_cap_closes_the_socket() -> None:
    async def hear(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass

    async with serving(hear, nothing) as (place, _), connect(f"ws://{place}/viewer", compression=None) as client:
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


async def test_pongs_that_nobody_reads_do_not_pile_up() -> None:
    hearing = Hearing()
    async with (
        serving(hearing, hearing.drain) as (place, server),
        connect(f"ws://{place}/viewer", compression=None, ping_interval=None) as client,
    ):
        client.transport.pause_reading()
        for _ in range(200_000):
            client.protocol.send_ping(b"x" * 125)
        client.protocol.send_text(b"the last one")
        client.transport.write(b"".join(client.protocol.data_to_send()))
        async with asyncio.timeout(10):
            await hearing.has_heard.wait()
        waiting = max(socket.transport.get_write_buffer_size() for socket in server.server_state.connections)
        client.transport.abort()
    assert waiting < 1_000_000


async def test_compression_is_not_offered() -> None:
    echo = Echo()
    async with serving(echo, echo.drain) as (place, _), connect(f"ws://{place}/viewer") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        echo.go.set()


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


@pytest.mark.parametrize("first", [b"", b"GET / HT", START, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /"])
async def test_a_head_that_does_not_come_is_not_waited_for(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serving.HEAD_S", 0.1)
    async with serving(say_hello, nothing) as (place, _):
        reader, writer = await asyncio.open_connection(*place.split(":"))
        writer.write(first)
        async with asyncio.timeout(2):
            await reader.read()
        writer.close()


async def test_an_open_websocket_and_a_slow_answer_outlive_the_wait_for_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serving.HEAD_S", 0.1)
    echo = Echo()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
            return
        await asyncio.sleep(0.2)
        await say_hello(scope, receive, send)

    async with serving(answer, echo.drain) as (place, _), connect(f"ws://{place}/viewer") as client:
        assert (await asyncio.to_thread(_get, f"http://{place}/"))[0] == b"hello"
        await asyncio.wait_for(await client.ping(), 2)


def records(port: int, client: ssl.SSLContext, request: bytes) -> list[bytes]:
    """What each TLS record brings of the answer to a request, until the end of the connection."""
    found = []
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        client.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(request)
        while piece := connection.recv(65536):  # never more than one record
            found.append(piece)
    return found


@pytest.mark.parametrize("more", ["", "Content-Length: 0\r\nExpect: 100-continue\r\n"])
async def test_head_and_body_of_an_answer_come_in_one_record(tmp_path: Path, more: str) -> None:
    body = b"x" * 3400

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        assert scope["scheme"] == "https"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3400")]})
        await send({"type": "http.response.body", "body": body})

    request = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n".encode()
    async with serving_tls(answer, tmp_path) as (port, _, client):
        found = await asyncio.to_thread(records, port, client, request)
    if more:
        assert found.pop(0) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert [record.partition(b"\r\n\r\n")[2] for record in found] == [body]
    assert found[0].startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_answers_without_a_body_and_after_one_another_come_too(tmp_path: Path, method: str) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        status, length = (200, b"5") if scope["method"] == "HEAD" else (204, b"0")
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"hello"[: int(length)]})

    one = f"{method} / HTTP/1.1\r\nHost: x\r\n"
    async with serving_tls(answer, tmp_path) as (port, _, client):
        found = await asyncio.to_thread(records, port, client, f"{one}\r\n{one}Connection: close\r\n\r\n".encode())
    status = b"HTTP/1.1 200 OK" if method == "HEAD" else b"HTTP/1.1 204 No Content"
    assert b"".join(found).count(status) == 2
    assert b"hello" not in b"".join(found)


async def test_an_application_that_fails_after_the_head_ends_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        raise RuntimeError("no body")

    async with serving_tls(fail, tmp_path) as (port, _, client):
        found = await asyncio.to_thread(records, port, client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"".join(found).endswith(b"content-length: 5\r\n\r\n")
    assert "no body" in caplog.text


async def test_one_drain_is_for_both_listeners(tmp_path: Path) -> None:
    echo = Echo()
    async with serving_tls(echo, tmp_path) as (port, server, client):
        plain = server.servers[0].sockets[0].getsockname()[1]
        async with (
            connect(f"ws://127.0.0.1:{plain}/") as one,
            connect(f"wss://localhost:{port}/", ssl=client) as other,
        ):
            server.should_exit = True
            for connection in (one, other):
                with pytest.raises(ConnectionClosed) as caught:
                    await connection.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1001


async def test_a_new_certificate_is_for_new_connections_and_old_ones_live(tmp_path: Path) -> None:
    def serial(connection: Any) -> int:
        peer = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(peer).serial_number

    echo = Echo()
    async with serving_tls(echo, tmp_path) as (port, server, client):
        url = f"wss://localhost:{port}/"
        async with connect(url, ssl=client) as old:
            (tmp_path / "tls" / "server.pem").unlink()
            made(tmp_path)
            for tick in (0, 10):
                await server.on_tick(tick)
            async with connect(url, ssl=client) as new:
                assert serial(new) != serial(old)
            await asyncio.wait_for(await old.ping(), 2)


def test_a_handshake_too_many_is_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.tls.HANDSHAKES", 1)

    async def connect_twice() -> None:
        async with serving_tls(say_hello, tmp_path) as (port, *_):
            _, waiting = await asyncio.open_connection("127.0.0.1", port)
            reader, refused = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(2):
                assert await reader.read() == b""
            waiting.close()
            refused.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # what we serve with
        runner.run(connect_twice())
    assert not caplog.records


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_handshake_that_does_not_come_is_not_waited_for(
    tmp_path: Path, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.serving.HANDSHAKE_S", 0.1)
    async with serving_tls(say_hello, tmp_path) as (port, server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        async with asyncio.timeout(2):
            await reader.read()
        writer.close()
        assert not server.server_state.connections
