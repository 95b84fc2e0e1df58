"""A real uvicorn in the test's own event loop, as the service wires it, for tests of what only the wire shows."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def live(application: Any, **options: Any) -> AsyncIterator[str]:
    """Serve `application` while the block runs; gives `host:port`. `options` go to uvicorn.Config."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop, which we serve with
    host, port = listener.getsockname()
    defaults = {"http": "httptools", "ws": "websockets-sansio", "lifespan": "off", "log_config": None}
    server = _Server(uvicorn.Config(application, **(defaults | options)))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.is_up.wait()
        try:
            yield f"{host}:{port}"
        finally:
            server.should_exit = True
            await serving
