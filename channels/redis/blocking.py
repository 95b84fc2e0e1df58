"""Commands at Redis for code that does not await: the command line, the start of a service, and threads."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from channels.redis.commands import Commands, RedisUnavailableError
from channels.redis.settings import RedisSettings

Answer = TypeVar("Answer")
_CLOSE_S: Final = 1.0


class Blocking:
    """Runs work with the commands in an event loop of its own; who asks waits no longer than each command may take."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-commands", daemon=True)
        self._thread.start()
        self._commands = self._await(_made(settings))

    def run(self, work: Callable[[Commands], Coroutine[Any, Any, Answer]]) -> Answer:
        """Do `work` and return what it returns. Raises: RedisUnavailableError, and what `work` raises."""
        if self._is_closed:
            raise RedisUnavailableError(f"the connection to {self.settings.place} is closed")
        return self._await(work(self._commands))

    def close(self) -> None:
        """Close the connections; may be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(TimeoutError):
            self._await(self._commands.aclose(), _CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _await(self, work: Coroutine[Any, Any, Answer], limit_s: float | None = None) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_s)


async def _made(settings: RedisSettings) -> Commands:
    return Commands(settings)
