"""uvicorn as this project runs it: bound sockets handed in, signals left to the wiring, a drain before the end."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn

FRAME_BYTES = 64 * 1024
SETTLE_S = 0.5


class HttpServer(uvicorn.Server):
    """HTTP and websockets of one ASGI application on one listener.

    `drain` is called once nothing new is accepted, before the connections that are left are closed.
    """

    def __init__(self, application: Any, listener: socket.socket, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
                ws="websockets-sansio",
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
