"""Commands at Redis for code that does not await: the command line, the start of a service, and threads."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import redis

from channels.redis.commands import Commands, RedisUnavailableError
from channels.redis.failures import RedisRefusedError
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
        """Do `work` and return what it returns. Raises: RedisUnavailableError, RedisRefusedError."""
        if self._is_closed:
            raise RedisUnavailableError(f"the connection to {self.settings.place} is closed")
        try:
            return self._await(work(self._commands))
        except RedisUnavailableError as error:
            if error.is_final:
                raise RedisRefusedError(str(error)) from error
            raise
        except redis.RedisError as error:
            raise RedisRefusedError(f"{self.settings.place}: {error}") from error
        except concurrent.futures.CancelledError:
            raise RedisUnavailableError(f"the connection to {self.settings.place} is closed") from None

    def close(self) -> None:
        """Close the connections, also under whoever waits for an answer; may be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(TimeoutError):
            self._await(_end(self._commands), _CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _await(self, work: Coroutine[Any, Any, Answer], limit_s: float | None = None) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_s)


async def _made(settings: RedisSettings) -> Commands:
    return Commands(settings)


async def _end(commands: Commands) -> None:
    """Nobody may wait on in a loop that stands still."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
    await commands.aclose()
