"""A websocket as an ASGI application sees it: it accepts or refuses, then hears messages one by one, unless somebody
else takes the websocket over and it returns. Source: ASGI specification, HTTP and WebSocket protocol 2.4.
"""

import asyncio
import contextlib
import logging
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import unquote

from uvicorn._types import HTTPScope

from app.ws import frames, handshake
from app.ws.crowd import Crowd
from app.ws.handshake import Opening

HELD_MESSAGES: Final = 16  # of one websocket; while so many wait for the application, nothing more is read
log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]


class Socket(Protocol):
    """The connection under it."""

    def answer(self, head: bytes, *, is_open: bool) -> None:
        """Answer the handshake. Raises: OSError."""

    def send(self, frame: bytes) -> bool:
        """Send a text message."""

    def send_binary(self, data: bytes) -> bool:
        """Send a binary message."""

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close."""

    def hold(self, *, is_held: bool) -> None:
        """Read nothing while it is held."""

    def returned(self, application: "Application") -> None:
        """Hear that the application has returned."""


class Application:
    """One run of an ASGI application for one websocket; it hears the messages while nobody has taken them over."""

    def __init__(self, crowd: Crowd, connection: Socket, opening: Opening) -> None:
        self._crowd = crowd
        self._connection = connection
        self._opening = opening
        self._is_answered = False
        self._is_connected = False
        self._refusal: tuple[int, list[tuple[bytes, bytes]], bytes] | None = None
        self._messages: list[Message] = []  # short: see HELD_MESSAGES
        self._waiter: asyncio.Future[None] | None = None

    async def run(self, head: HTTPScope, url: bytes, extensions: dict[str, object]) -> None:
        """Call the application; its end closes the websocket, unless somebody has taken it over."""
        try:
            await self._crowd.config.loaded_app(self._scope(head, url, extensions), self.receive, self.send)
        except OSError:
            pass  # the peer has left
        except Exception:  # a task's root: logged here, once, and told without details
            log.exception("a websocket's application failed")
            self._fail()
        else:
            if not self._is_answered:
                log.error("a websocket's application returned without an answer")
                self._fail()
        self._connection.returned(self)

    def _scope(self, head: HTTPScope, url: bytes, extensions: dict[str, object]) -> dict[str, Any]:
        path, _, query = url.partition(b"?")
        root_path = self._crowd.config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._crowd.config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if head["scheme"] == "https" else "ws",
            "server": head["server"],
            "client": head["client"],
            "root_path": root_path,
            "path": root_path + unquote(path.decode("ascii")),
            "raw_path": root_path.encode("ascii") + path,
            "query_string": query,
            "headers": head["headers"],
            "subprotocols": list(self._opening.subprotocols),
            "state": head.get("state", {}),
            "extensions": {"websocket.http.response": {}, **extensions},
        }

    async def receive(self) -> Message:
        """The next message."""
        if not self._is_connected:
            self._is_connected = True
            return {"type": "websocket.connect"}
        while not self._messages:
            self._waiter = self._crowd.loop.create_future()
            await self._waiter
        if len(self._messages) == 1 and self._messages[0]["type"] == "websocket.disconnect":
            return self._messages[0]  # as often as it asks
        if len(self._messages) == HELD_MESSAGES:
            self._connection.hold(is_held=False)
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        """Do what the application says. Raises: OSError when the peer has left or does not read, RuntimeError."""
        kind = message["type"]
        if self._refusal is not None:
            self._refuse_on(message)
        elif not self._is_answered:
            self._answer(kind, message)
        elif kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                is_sent = self._connection.send(message["text"].encode())
            else:
                is_sent = self._connection.send_binary(data)
            if not is_sent:
                self._connection.close(frames.TOO_SLOW, "too slow")
                raise ConnectionResetError("the peer has left, or does not read")
        elif kind == "websocket.close":
            self._connection.close(message.get("code", frames.NORMAL), message.get("reason") or "")
        else:
            raise RuntimeError(f"an open websocket does not take {kind}")

    def _answer(self, kind: str, message: Message) -> None:
        headers = [*self._crowd.state.default_headers, *message.get("headers", ())]
        if kind == "websocket.accept":
            self._is_answered = True
            head = handshake.switch(self._opening, headers, message.get("subprotocol"))
            self._connection.answer(head, is_open=True)
        elif kind == "websocket.close":
            self._refuse(HTTPStatus.FORBIDDEN, headers, b"")
        elif kind == "websocket.http.response.start":
            self._refusal = (message["status"], headers, b"")
        else:
            raise RuntimeError(f"a handshake does not take {kind}")

    def _refuse_on(self, message: Message) -> None:
        if self._is_answered or self._refusal is None or message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"a refusal does not take {message['type']}")
        status, headers, body = self._refusal
        self._refusal = status, headers, body + message.get("body", b"")
        if not message.get("more_body", False):
            self._refuse(*self._refusal)

    def _refuse(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._is_answered = True
        self._connection.answer(handshake.refuse(status, headers, body), is_open=False)

    def _fail(self) -> None:
        if self._is_answered:
            self._connection.close(frames.FAILURE, "the service failed; its log has the reason")
            return
        with contextlib.suppress(OSError):
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, [], b"")

    # What the connection says

    late = None  # it has left

    def text(self, message: str) -> None:
        """Keep a message until the application asks for it."""
        self._receive({"type": "websocket.receive", "text": message})

    def binary(self, data: bytes) -> None:
        """Keep a message until the application asks for it."""
        self._receive({"type": "websocket.receive", "bytes": data})

    def _receive(self, message: Message) -> None:
        self._add(message)
        if len(self._messages) == HELD_MESSAGES:
            self._connection.hold(is_held=True)

    def closed(self, end: tuple[int, str] | None) -> None:
        """Tell the application."""
        code, reason = end or (frames.NO_CODE if self._is_answered else frames.ABNORMAL, "")
        self._add({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def ended(self) -> None:
        """Nothing more: the application knows."""

    def _add(self, message: Message) -> None:
        self._messages.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
