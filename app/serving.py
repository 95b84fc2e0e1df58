"""uvicorn as this project runs it: bound sockets handed in, signals left to the wiring, a drain before the end, and
bounds on what a caller may send before anybody has looked at it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FRAME_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
HEAD_S = 10.0
SETTLE_S = 0.5


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds that its parser lacks: what it keeps of a request, and how long a head may take.

    Of each request it takes HEAD_BYTES, and what one read brings more, beside the body: start line, headers, chunk
    sizes and trailers. A head must be complete HEAD_S after its first byte, the first one after the connection.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._beside_body = 0
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then end a connection that sent too much beside the body."""
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body <= HEAD_BYTES or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("The head of the request is too large.")
        else:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Count anew."""
        super().on_message_begin()
        self._beside_body = 0
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self.transport.close)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._end_wait()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The application bounds the body."""
        self._beside_body -= len(body)
        super().on_body(body)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket with a bound on pongs, which alone no application limits."""

    def handle_ping(self) -> None:
        """Answer, but not while the peer leaves the answers before unread (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()


class HttpServer(uvicorn.Server):
    """HTTP and websockets of one ASGI application on one listener.

    `drain` is called once nothing new is accepted, before the connections that are left are closed.
    """

    def __init__(self, application: Any, listener: socket.socket, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=FRAME_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                log_level="warning",  # at INFO it writes a line per websocket, with its query
                timeout_graceful_shutdown=1,
            )
        )
        self.is_up = asyncio.Event()
        self._listener = listener
        self._drain = drain

    async def run_until_exit(self) -> None:
        """Serve until `should_exit` is set, then drain."""
        await self.serve(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept, and say so by `is_up`."""
        await super().startup(sockets)
        self.is_up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing new, tell the websockets to go, then close what is left."""
        for server in self.servers:
            server.close()
        await self._drain()
        if self.server_state.tasks:  # uvicorn would close websockets with 1012 over our own reason
            await asyncio.wait(set(self.server_state.tasks), timeout=SETTLE_S)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the wiring ends all parts in order."""
        yield
