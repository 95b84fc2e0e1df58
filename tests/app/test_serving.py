"""The server: handshakes, heads and closes as clients see them, without TLS."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.serving import WebSockets
from tests.app.served import Echo, get, nothing, say_hello, serving


async def test_it_serves_on_the_socket_that_it_was_handed() -> None:
    async with serving(say_hello, nothing) as (place, _):
        answer = await asyncio.to_thread(get, f"http://{place}/")
    assert answer == (b"hello", None)


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
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Connection: keep-alive"), 101),
        ("\r\nGET /viewer HTTP/1.1", (*UPGRADE, "Connection: keep-alive"), 101),  # HTTP, not the door, reads it
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Content-Length: 0"), 101),
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Content-Length: 5"), 400),
        ("GET /viewer HTTP/1.1", (*UPGRADE, "Transfer-Encoding: chunked"), 400),
    ],
)
async def test_a_handshake_is_answered_by_its_head(
    start: str, headers: tuple[str, ...], status: int, websocket: WebSockets
) -> None:
    echo = Echo()
    echo.go.set()
    async with serving(echo, nothing, websocket=websocket) as (place, _):
        host, port = place.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write("\r\n".join((start, *headers, "", "")).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert int(answer.split()[1]) == status
    assert (b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer) is (status == 101)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "TLS on the port of plain HTTP"),
        (b"\x00\x01\r\n", "Invalid HTTP request received."),
    ],
)
async def test_what_is_no_http_is_refused_and_logged_with_its_source(
    sent: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(say_hello, nothing) as (place, _):
        host, port = place.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
    (line,) = [vars(record) for record in caplog.records if record.name == "app.serving"]
    assert (line["source"], line["reason"]) == ("127.0.0.1", reason)


async def test_the_application_sees_the_head_as_it_came(websocket: WebSockets) -> None:
    seen: dict[str, Any] = {}

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-id", b"7")]})
        await send({"type": "websocket.close"})

    async with (
        serving(look, nothing, websocket=websocket) as (place, _),
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


async def test_a_trailer_is_no_header() -> None:
    seen: list[Any] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        is_more = True
        while is_more:
            is_more = (await receive())["more_body"]
        seen.append([name for name, _ in scope["headers"]])
        await say_hello(scope, receive, send)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\nHost: y\r\n\r\n"
    async with serving(look, nothing) as (place, _):
        reader, writer = await asyncio.open_connection(*place.split(":"))
        writer.write(request + request)
        for _ in range(2):
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.close()
    assert seen == [[b"host", b"transfer-encoding"]] * 2


@pytest.mark.parametrize(
    ("proxies", "forwarded", "source"),
    [
        ((), "203.0.113.9", ("127.0.0.1", "http")),
        (("192.0.2.0/24",), "203.0.113.9", ("127.0.0.1", "http")),
        (("127.0.0.1",), "203.0.113.9", ("203.0.113.9", "https")),
        (("127.0.0.0/8", "192.0.2.0/24"), "198.51.100.1, 203.0.113.9, 192.0.2.7", ("203.0.113.9", "https")),
    ],
    ids=["none", "another", "one", "two in a row"],
)
async def test_only_a_trusted_proxy_says_who_asks(
    proxies: tuple[str, ...], forwarded: str, source: tuple[str, str]
) -> None:
    seen: list[Any] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"].replace("ws", "http")))
        if scope["type"] == "http":
            await say_hello(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    lines = f"Host: x\r\nX-Forwarded-For: {forwarded}\r\nX-Forwarded-Proto: https\r\n"
    async with serving(look, nothing, proxies) as (place, _):
        for more in ("", "\r\n".join((*UPGRADE[1:], ""))):
            reader, writer = await asyncio.open_connection(*place.split(":"))
            writer.write(f"GET /viewer HTTP/1.1\r\n{lines}{more}\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
    assert seen == [source, source]


async def test_the_close_code_of_the_drain_reaches_the_client(websocket: WebSockets) -> None:
    echo = Echo()
    async with (
        serving(echo, echo.drain, websocket=websocket) as (place, server),
        connect(f"ws://{place}/viewer") as client,
    ):
        server.end()
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "this node is going away")


async def test_compression_is_not_offered() -> None:
    echo = Echo()
    async with serving(echo, echo.drain) as (place, _), connect(f"ws://{place}/viewer") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        echo.go.set()


async def test_somebody_in_a_hurry_waits_for_no_drain(websocket: WebSockets) -> None:
    echo, is_draining = Echo(), asyncio.Event()

    async def drain() -> None:
        is_draining.set()
        await asyncio.Event().wait()

    async with (
        asyncio.timeout(15),
        serving(echo, drain, websocket=websocket) as (place, server),
        connect(f"ws://{place}/viewer") as client,
    ):
        server.end()
        await is_draining.wait()
        server.hurry()
        await server.unless_hurried(asyncio.sleep(60))
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
