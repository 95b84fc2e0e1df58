"""Applications served by the real server on free ports of this event loop, with and without TLS."""

import asyncio
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.listen import listen
from app.serving import HttpServer, WebSockets
from app.tls import TlsContext, TlsListener
from tests.certificates import made, trusting

Application = Callable[[Any, Any, Any], Awaitable[None]]


@asynccontextmanager
async def serving_tls(application: Application, folder: Path) -> AsyncIterator[tuple[int, HttpServer, ssl.SSLContext]]:
    """Serve an application with and without TLS; gives the TLS port, the server and the context of a client."""
    drain = getattr(application, "drain", nothing)
    with listen("127.0.0.1", 0, "http_port") as listener, listen("127.0.0.1", 0, "https_port") as tls_listener:
        files = made(folder)
        tls = TlsListener(tls_listener, TlsContext(files.pair), files.ca)
        server = HttpServer(application, listener, drain, tls)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(server.run_until_exit())
            await server.is_up.wait()
            yield tls.port, server, trusting(files.ca)
            server.end()
            await running


@asynccontextmanager
async def serving(
    application: Application,
    drain: Callable[[], Awaitable[None]],
    proxies: tuple[str, ...] = (),
    websocket: WebSockets = "own",
) -> AsyncIterator[tuple[str, Any]]:
    """Serve an application; gives its place and the server."""
    with listen("127.0.0.1", 0, "http_port") as listener:
        server = HttpServer(application, listener, drain, proxies=proxies, websocket=websocket)
        place = "127.0.0.1:" + str(listener.getsockname()[1])
        async with asyncio.TaskGroup() as group:
            running = group.create_task(server.run_until_exit())
            await server.is_up.wait()
            yield place, server
            server.end()
            await running


async def nothing() -> None:
    return


async def say_hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def get(url: str) -> tuple[bytes, str | None]:
    with urllib.request.urlopen(url, timeout=15) as answer:
        return answer.read(), answer.headers["server"]


class Echo:
    """A websocket application that closes with 1001 once it is told to go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.go.wait()
        await send({"type": "websocket.close", "code": 1001, "reason": "this node is going away"})

    async def drain(self) -> None:
        self.go.set()
