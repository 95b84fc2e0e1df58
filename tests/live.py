"""A real uvicorn in the test's own event loop, as the service wires it, for tests of what only the wire shows."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn


class PromptServer(uvicorn.Server):
    """uvicorn that starts and ends at once, and leaves signals alone: its own looks for an end ten times a second, and
    waits as long for the last connections.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self.ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while state.connections or state.tasks:  # noqa: ASYNC110  # uvicorn tells nobody when they end
                    await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel()

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
    server = PromptServer(uvicorn.Config(application, **(defaults | options)))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        await server.is_up.wait()
        try:
            yield f"{host}:{port}"
        finally:
            server.ending.set()
            await serving
