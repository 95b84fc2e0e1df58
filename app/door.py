"""What a connection comes in by: a whole and good opening of a websocket goes to the websocket at once, without what
uvicorn keeps of a connection that serves one request after the other. All else is HTTP's, which then reads it from its
first byte and says what is wrong with it.
"""

import asyncio
from typing import Any, ClassVar, Final, Protocol

import httptools
import uvicorn
from uvicorn.protocols.utils import is_ssl
from uvicorn.server import ServerState

from app.ws import handshake

_OPENING_BYTES: Final = 16 * 1024  # URL and headers of any client that we know; HTTP has its own bound


class Http(Protocol):
    """The class of HTTP that is behind the door."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None,
    ) -> None: ...

    @staticmethod
    def deadline(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> asyncio.TimerHandle:
        """Close the connection in time when nothing comes."""

    def begin(self, transport: asyncio.Transport, deadline: asyncio.TimerHandle) -> None:
        """Take the connection over with its deadline."""

    def data_received(self, data: bytes) -> None:
        """Read."""


class _Head:
    """What httptools reads of a request that has no body."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        """Take the request's target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.lower(), value))


class Door(asyncio.Protocol):
    """One connection of which nothing has been read yet; made as uvicorn makes a class of HTTP."""

    http: ClassVar[type[Http]]

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle  # until then something must come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first bytes."""
        self._transport = transport
        self._state.connections.add(self)  # type: ignore[arg-type]  # all that uvicorn does: shutdown()
        self._deadline = self.http.deadline(self._loop, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._leave()
        self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Hand the connection over."""
        self._leave()
        if not self._opens(data):
            http: Any = self.http(self._config, self._state, self._app_state, self._loop)
            http.begin(self._transport, self._deadline)
            self._transport.set_protocol(http)
            http.data_received(data)

    def shutdown(self) -> None:
        """End now: nothing has been asked yet."""
        self._transport.close()

    def _leave(self) -> None:
        self._state.connections.discard(self)

    def _opens(self, data: bytes) -> bool:
        """Open a websocket when this is all that it takes; whoever reads the rest finds out what is wrong with it."""
        if b"pgrade" not in data or not data.startswith(b"GET ") or len(data) > _OPENING_BYTES:
            return False
        head = _Head()
        parser = httptools.HttpRequestParser(head)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            is_whole = upgrade.args[0] == len(data) and parser.get_http_version() == "1.1"
        except httptools.HttpParserError:
            return False
        else:
            return False
        opening = handshake.read(head.url, head.headers) if is_whole else None
        if opening is None:
            return False
        self._deadline.cancel()
        transport = self._transport
        scope: Any = {
            "scheme": "https" if is_ssl(transport) else "http",
            "server": None,  # costs a call of the system, and nothing asks for it
            "client": _address(transport),
            "headers": head.headers,
            "state": self._app_state.copy(),
        }
        websocket: Any = self._config.ws_protocol_class
        websocket = websocket(self._config, self._state, self._app_state)
        websocket.open(transport, scope, head.url, opening)
        transport.set_protocol(websocket)
        return True


def _address(transport: asyncio.Transport) -> tuple[str, int] | None:
    """Who asks, from what the transport noted when it began: asking its socket is a call of the system more, and leaves
    an object of the socket with each connection.
    """
    name = transport.get_extra_info("peername")
    return name[:2] if isinstance(name, tuple) else None
