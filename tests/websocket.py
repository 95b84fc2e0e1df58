"""A websocket client for tests without an event loop of their own.

Not the `sync` client of websockets: over TLS its two threads use one OpenSSL connection at once, and one in some
hundred handshakes hangs in there, whatever the server (seen with Python 3.11 against a plain asyncio server).
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from websockets.asyncio.client import ClientConnection, connect

LIMIT_S = 10.0
Frame = str | bytes


class Socket:
    """One open connection, whose event loop runs in a thread of its own."""

    def __init__(self, portal: BlockingPortal, connection: ClientConnection) -> None:
        self._portal = portal
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    @property
    def close_code(self) -> int | None:
        return self._connection.close_code

    @property
    def close_reason(self) -> str | None:
        return self._connection.close_reason

    def send(self, frame: Frame) -> None:
        self._portal.call(self._connection.send, frame)

    def recv(self, limit_s: float = LIMIT_S) -> Frame:
        """The next frame. Raises: ConnectionClosed, TimeoutError."""

        async def recv() -> Frame:
            async with asyncio.timeout(limit_s):
                return await self._connection.recv()

        return self._portal.call(recv)

    def receive(self) -> dict[str, Any]:
        """The next frame as JSON. Raises: ConnectionClosed, TimeoutError."""
        frame: dict[str, Any] = json.loads(self.recv())
        return frame

    def ping(self) -> None:
        """Wait for the pong. Raises: ConnectionClosed, TimeoutError."""

        async def ping() -> None:
            async with asyncio.timeout(LIMIT_S):
                await (await self._connection.ping())

        self._portal.call(ping)

    def answer(self, reply: Callable[[Frame], Frame]) -> None:
        """From now on send a reply to each frame."""

        async def answer() -> None:
            async for frame in self._connection:
                await self._connection.send(reply(frame))

        self._portal.start_task_soon(answer)


@contextmanager
def connected(url: str, **more: Any) -> Iterator[Socket]:
    """Connect until the block ends; `more` as for `connect` of websockets. Raises: as that does."""
    connecting = connect(url, proxy=None, open_timeout=LIMIT_S, close_timeout=LIMIT_S, **more)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(connecting) as connection:
        yield Socket(portal, connection)
