"""A websocket as an ordinary ASGI application has it."""

import asyncio
from typing import Any

import pytest

from app.ws import frames
from app.ws.asgi import HELD_MESSAGES
from tests.app.ws.wire import Opened, masked, opened


async def accept(receive: Any, send: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", "subprotocol": "a", "headers": [(b"x", b"1")]})


def answers(both: Opened) -> bytes:
    return b"".join(both.wire.writes)


async def test_an_application_talks_and_its_end_closes() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"q=1")
        await accept(receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "end":
                return
            await send(message | {"type": "websocket.send"})

    async with opened(echo) as both:
        assert answers(both).startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Protocol: a\r\n" in answers(both)
        both.sees(masked(1, b"t"), masked(2, b"b"), masked(1, b"end"))
        await both.turns(4)
        assert answers(both).endswith(b"\x81\x01t\x82\x01b" + frames.close(1000))


async def test_an_application_closes_with_its_own_code_and_hears_it() -> None:
    heard: list[Any] = []

    async def close(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "code": 4000, "reason": "so"})
        heard.extend([await receive(), await receive()])

    async with opened(close) as both:
        assert both.wire.writes[-1] == frames.close(4000, "so")
        await both.turns()
    assert heard == [{"type": "websocket.disconnect", "code": 4000, "reason": "so"}] * 2


async def test_nothing_more_is_read_while_messages_wait_for_the_application() -> None:
    go = asyncio.Event()

    async def sleepy(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await go.wait()
        while (await receive())["type"] == "websocket.receive":
            pass

    async with opened(sleepy) as both:
        both.sees(masked(1, b"a") * HELD_MESSAGES)
        assert both.wire.is_paused
        go.set()
        await both.turns(4)
        assert not both.wire.is_paused


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close"}], b"403 Forbidden"),
        (
            [
                {"type": "websocket.http.response.start", "status": 404, "headers": [(b"x", b"1")]},
                {"type": "websocket.http.response.body", "body": b"no", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"ne"},
            ],
            b"404 Not Found",
        ),
        ([{"type": "websocket.http.response.start", "status": 404}, {"type": "websocket.send"}], b"500 "),
        ([{"type": "websocket.send", "text": "too soon"}], b"500 "),
        ([], b"500 "),
    ],
)
async def test_an_application_refuses_in_one_write(
    messages: list[Any], status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    async with opened(refuse) as both:
        (answer,) = both.wire.writes
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert both.wire.is_closing()
        if status.startswith(b"404"):
            assert answer.endswith(b"x: 1\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnone")
    assert len(caplog.records) == (status == b"500 ")


async def test_an_application_that_fails_closes_with_1011_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        raise ZeroDivisionError

    async with opened(fail) as both:
        assert frames.close(1011, "the service failed; its log has the reason") in both.wire.writes
    assert len(caplog.records) == 1


async def test_an_application_whose_peer_reads_nothing_is_told_and_the_peer_closed() -> None:
    async def pour(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "bytes": b"a" * 60})
        with pytest.raises(OSError, match="does not read"):
            await send({"type": "websocket.send", "bytes": b"a" * 60})
        assert (await receive())["code"] == 1008

    async with opened(pour, queued_bytes=100) as both:
        assert both.connection.end == (1008, "too slow")
