"""A signaling websocket on a server that knows no more than ASGI: a bounded queue in front of a writer that alone
awaits the peer.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine

from starlette.websockets import WebSocket, WebSocketDisconnect

from channels.signaling.protocol import TOO_SLOW


class SocketConnection:
    """One websocket as the hub sees it: a bounded queue in front of a writer that alone awaits the peer.

    The writer is there from the first frame on: many connections come and go without one.
    """

    def __init__(self, websocket: WebSocket, bytes_limit: int) -> None:
        self._websocket = websocket
        self._bytes_limit = bytes_limit
        self._bytes = 0
        self._frames: deque[bytes] = deque()
        self.end: tuple[int, str] | None = None  # close code and reason, once we close it
        self.is_paused = False
        self._is_closed = asyncio.Event()
        self._has_work = asyncio.Event()
        self._start: Callable[[], asyncio.Task[None]] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._on_closing: Callable[[], None] | None = None

    @property
    def is_ending(self) -> bool:
        """Whether we close it."""
        return self.end is not None

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False when the queue is full or the socket is closing."""
        if self.end is not None or self._bytes + len(frame) > self._bytes_limit:
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        self._wake()
        return True

    def pause(self) -> None:
        """Have the reader wait before what comes next, until we close."""
        self.is_paused = True

    async def until_closed(self) -> None:
        """Return once we close: so long a reader waits that is paused."""
        await self._is_closed.wait()

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued; a peer that is too slow does not get its queue any more."""
        if self.end is not None:
            return
        self.end = (code, reason)
        self._is_closed.set()
        if code == TOO_SLOW:
            self._frames.clear()
        if self._on_closing is not None:
            self._on_closing()
        self._wake()

    async def relay(self, reading: Coroutine[None, None, None], close_s: float) -> None:
        """Read to the end, and write meanwhile; a peer that does not answer our close frame is left after `close_s`."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    self._start = lambda: group.create_task(self.write())
                    self._on_closing = lambda: limit.reschedule(loop.time() + close_s)
                    if self.is_ending:
                        self._on_closing()
                    if self._frames or self.is_ending:
                        self._wake()
                    await reading
            self._start = self._on_closing = None
            if self._writer is not None:
                self._writer.cancel()

    def _wake(self) -> None:
        self._has_work.set()
        if self._writer is None and self._start is not None:
            self._writer = self._start()

    async def write(self) -> None:
        """Send what is queued until the close frame is out or the peer is gone."""
        try:
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                while self._frames:
                    frame = self._frames.popleft()
                    await self._websocket.send_text(frame.decode())
                    self._bytes -= len(frame)
                if self.end is not None:
                    await self._websocket.close(*self.end)
                    return
        except (WebSocketDisconnect, RuntimeError):
            # The peer is gone, or the server closed by itself (a bad frame, no pong), after which it takes nothing
            # more and says so by RuntimeError. The reader sees the end, too.
            return
