"""The server behind TLS: records, certificates, handshakes, one end for both listeners."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.app.served import Echo, say_hello, serving_tls
from tests.certificates import made


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
            server.end()
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
            await asyncio.wait_for(await old.ping(), 15)


def test_a_handshake_too_many_is_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.tls.HANDSHAKES", 1)

    async def connect_twice() -> None:
        async with serving_tls(say_hello, tmp_path) as (port, *_):
            _, waiting = await asyncio.open_connection("127.0.0.1", port)
            reader, refused = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(15):
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
        async with asyncio.timeout(15):
            await reader.read()
        writer.close()
        assert not server.server_state.connections
