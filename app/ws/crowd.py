"""What all websockets of one server share: one flush a turn of the loop, one sweep for silent peers, and the ends.

It makes the connections, too: uvicorn calls it where a class of websockets is due. Knows no frame.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Final, Protocol

import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState

BUCKETS: Final = 20  # one is swept at a time, so that no turn of the loop is long
LOOKS: Final = 4  # at each connection within one ping interval
ENDERS: Final = 32  # ends that are worked on at a time
_LEAST_TICK_S: Final = 0.001
log = logging.getLogger(__name__)


class CrowdSettings(msgspec.Struct, frozen=True):
    """Of every connection: the longest message, the bytes that may wait for a peer, how long its close frame is
    awaited, after how much silence it is pinged, and how much more silence ends it (seconds).
    """

    message_bytes: int = 64 * 1024
    queued_bytes: int = 256 * 1024
    close_s: float = 2.0
    ping_s: float = 20.0
    silence_s: float = 20.0


class Ended(Protocol):
    """Somebody for whom a connection has ended."""

    async def ended(self) -> None:
        """Do what is to be done after it."""


class Swept(Protocol):
    """A connection as the crowd sees it."""

    def flush(self) -> None:
        """Write what waits."""

    def look(self) -> None:
        """Ping or end a peer that is silent; called LOOKS times in a ping interval."""


class Crowd:
    """The open websockets of one server."""

    def __init__(self, settings: CrowdSettings | None = None) -> None:
        self.settings = settings or CrowdSettings()
        self.silent_looks = LOOKS + max(1, round(LOOKS * self.settings.silence_s / self.settings.ping_s))
        self.loop: asyncio.AbstractEventLoop
        self.state: ServerState
        self.config: Config
        self._is_new = True
        self._buckets: tuple[set[Swept], ...] = tuple(set() for _ in range(BUCKETS))
        self._next_bucket = itertools.cycle(self._buckets).__next__
        self._swept = itertools.cycle(self._buckets).__next__
        self._timer: asyncio.TimerHandle | None = None
        self._dirty: list[Swept] = []
        self._leaving: deque[Ended] = deque()
        self._enders = 0
        self._closing = 0
        self._moved = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets)

    def attach(self, config: Config, server_state: ServerState) -> None:
        """Belong to this server from now on, and to the running event loop."""
        if self._is_new:
            self._is_new = False
            self.loop, self.config, self.state = asyncio.get_running_loop(), config, server_state

    # Writing

    def mark(self, connection: Swept) -> None:
        """Flush this connection at the beginning of the loop's next turn."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    # Silence

    def add(self, connection: Swept) -> set[Swept]:
        """Sweep a connection from now on, until it is taken out of the answer."""
        bucket = self._next_bucket()
        bucket.add(connection)
        if self._timer is None:
            self._tick()
        return bucket

    def _tick(self) -> None:
        if not any(self._buckets):
            self._timer = None
            return
        tick_s = max(_LEAST_TICK_S, self.settings.ping_s / LOOKS / BUCKETS)
        self._timer = self.loop.call_later(tick_s, self._sweep)

    def _sweep(self) -> None:
        for connection in tuple(self._swept()):
            connection.look()
        self._tick()

    # Ends

    def farewell(self, listener: Ended) -> None:
        """Await `ended`, of a bounded number at a time."""
        self._leaving.append(listener)
        if self._enders < ENDERS:
            self._enders += 1
            self.start(self._end())

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run something as one of the server's tasks, for whose end it waits when it ends."""
        task = self.loop.create_task(work)
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def count_closing(self, change: int) -> None:
        """One connection more, or less, waits for its peer's close frame."""
        self._closing += change
        self._moved.set()

    async def settle(self, limit_s: float) -> None:
        """Wait until what is closing has closed, for `limit_s` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._closing or self._enders:
                    self._moved.clear()
                    await self._moved.wait()

    async def _end(self) -> None:
        try:
            while self._leaving:
                await self._end_one(self._leaving.popleft())
        finally:
            self._enders -= 1
            self._moved.set()

    async def _end_one(self, listener: Ended) -> None:
        try:
            await listener.ended()
        except Exception:  # a task's root: told once, and the others go on
            log.exception("the end of a websocket failed")
