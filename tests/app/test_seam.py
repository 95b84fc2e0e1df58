"""Whether uvicorn takes our websockets, and what serves where it does not."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect

from app import seam
from app.listen import listen
from app.serving import HttpProtocol, HttpServer
from app.ws.connection import Connection
from app.ws.stock import WebSocketProtocol
from tests.app.served import Echo, nothing, serving


async def test_the_installed_uvicorn_takes_them() -> None:
    await seam.check(HttpProtocol)


class Closes(asyncio.Protocol):
    """A server whose seam has gone: it answers nothing."""

    def __init__(self, *parts: Any) -> None:
        pass

    def connection_made(self, transport: Any) -> None:
        transport.close()


class Raises(HttpProtocol):
    """A server whose insides have moved."""

    def handle_websocket_upgrade(self) -> None:
        raise AttributeError("scope")


@pytest.mark.parametrize("http", [Closes, Raises])
async def test_a_uvicorn_that_does_not_is_told_from_one_that_does(http: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.seam.LIMIT_S", 0.05)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    with pytest.raises(seam.SeamError):
        await seam.check(http)


async def _broken(http: Any) -> None:
    raise seam.SeamError("it moved")


@pytest.mark.parametrize(("is_broken", "kind"), [(False, Connection), (True, WebSocketProtocol)])
async def test_the_stock_class_takes_the_place_of_ours(
    is_broken: bool, kind: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if is_broken:
        monkeypatch.setattr("app.seam.check", _broken)
    echo = Echo()
    async with (
        serving(echo, echo.drain, websocket="auto") as (place, server),
        connect(f"ws://{place}/viewer"),
    ):
        assert {type(each) for each in server.server_state.connections} == {kind}
    assert [record.message for record in caplog.records] == ["uvicorn's own websockets serve, at more cost"] * is_broken


async def test_who_asks_for_ours_and_nothing_else_is_told_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.seam.check", _broken)
    with listen("127.0.0.1", 0, "http_port") as listener:
        server = HttpServer(Echo(), listener, nothing, websocket="own")
        with pytest.raises(seam.SeamError, match=r"WEBSOCKET: .*it moved"):
            await server.run_until_exit()
