import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.websockets import WebSocket

from app.api.faults import WAITING_LIMIT, Faults
from app.authenticate import Authenticator
from app.server import Parts
from app.wire import Caller, Operation
from channels.auth import token
from channels.auth.grant import Grant
from channels.embedded.tickets import EmbeddedTickets
from channels.errors import (
    ClientLimitExceededException,
    InvalidArgumentException,
    ServiceError,
    ServiceUnavailableException,
)


async def stays() -> None:
    await asyncio.Event().wait()


CALLER = Caller(Grant("alice", "000000000000", (), 0.0), "id", "localhost", "http", {}, stays)


class Note(msgspec.Struct):
    text: str = ""


class Sockets:
    """Counts who is let in."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    async def master(self, websocket: WebSocket) -> None:
        self.opened.append("master")

    async def viewer(self, websocket: WebSocket) -> None:
        self.opened.append("viewer")


async def echo(caller: Caller, body: Note) -> Note:
    return body


def parts(sockets: Sockets) -> Parts:
    verifier = token.TokenVerifier((token.secret_key("k", b"k" * 32),), token.TokenSettings())
    authenticator = Authenticator(verifier, EmbeddedTickets(), wall=lambda: 0.0, monotonic=lambda: 0.0)
    return Parts((Operation("Echo", "/echo", Note, echo, "signaling"),), authenticator, sockets, Path())


def test_the_next_calls_fail_and_then_no_more() -> None:
    faults = Faults()
    (operation,) = faults.around(parts(Sockets())).operations
    faults.add("Echo", "ClientLimitExceededException", 2)
    faults.add("Echo", "ServiceUnavailableException", 1)
    for expected in (ClientLimitExceededException, ClientLimitExceededException, ServiceUnavailableException):
        with pytest.raises(expected, match="the emulator was told to fail this call"):
            asyncio.run(_call(operation))
    assert asyncio.run(_call(operation)) == Note("hello")


async def _call(operation: Operation) -> msgspec.Struct:
    return await operation.handle(CALLER, Note("hello"))


def test_cleared_nothing_fails() -> None:
    faults = Faults()
    (operation,) = faults.around(parts(Sockets())).operations
    faults.add("Echo", "ServiceUnavailableException", 5)
    faults.clear()
    assert asyncio.run(_call(operation)) == Note("hello")


@pytest.mark.parametrize(
    ("operation", "error", "times", "words"),
    [
        (
            "Nothing",
            "ServiceUnavailableException",
            1,
            "operation must be one of ConnectAsMaster, ConnectAsViewer, Echo",
        ),
        ("Echo", "ValueError", 1, "error must be one of AccessDeniedException"),
        ("Echo", "ServiceError", 1, "error must be one of AccessDeniedException"),
        ("Echo", "ServiceUnavailableException", WAITING_LIMIT + 1, "faults of Echo would wait"),
    ],
)
def test_what_cannot_fail_so_is_refused(operation: str, error: str, times: int, words: str) -> None:
    faults = Faults()
    faults.around(parts(Sockets()))
    with pytest.raises(InvalidArgumentException, match=words):
        faults.add(operation, error, times)
    assert faults.take("Echo") is None


@pytest.mark.parametrize("error", ServiceError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_documented_error_can_be_told(error: type[ServiceError]) -> None:
    faults = Faults()
    faults.around(parts(Sockets()))
    faults.add("Echo", error.__name__, 1)
    assert type(faults.take("Echo")) is error


@pytest.mark.parametrize(
    ("error", "status"), [("ResourceNotFoundException", 404), ("AccessDeniedException", 403)], ids=str
)
async def test_a_connect_fails_before_the_upgrade(error: str, status: int) -> None:
    sockets, faults = Sockets(), Faults()
    twisted = faults.around(parts(sockets)).channel_sockets
    faults.add("ConnectAsViewer", error, 1)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/viewer", "headers": [], "extensions": {"websocket.http.response": {}}}
    await twisted.viewer(WebSocket(scope, receive, send))
    assert (sent[0]["status"], sockets.opened) == (status, [])
    await twisted.master(WebSocket(scope, receive, send))
    await twisted.viewer(WebSocket(scope, receive, send))
    assert sockets.opened == ["master", "viewer"]
