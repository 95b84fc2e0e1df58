"""Links to a test's Redis that are up, and the quick settings that make their faults show within milliseconds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from channels.redis.link import Link
from channels.redis.settings import RedisSettings

QUICK = {"heartbeat_s": 0.03, "watchdog_s": 0.1, "limit_s": 0.5, "backoff_s": 0.005, "backoff_limit_s": 0.02}
PATIENCE_S = 10.0


def quick_settings(url: str, **changes: Any) -> RedisSettings:
    """Settings of `url` in which faults show within 0.1 s.

    A busy machine may stall as long: who counts on a link that stays up takes a `watchdog_s` of seconds.
    """
    return msgspec.structs.replace(RedisSettings.parse(url), **(QUICK | changes))


@contextlib.asynccontextmanager
async def running_link(settings: RedisSettings, *, is_up: bool = True) -> AsyncIterator[Link]:
    """A link that runs while the block does, and is up at its begin unless told otherwise."""
    link = Link(settings)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(link.run())
        try:
            if is_up:
                async with asyncio.timeout(PATIENCE_S):
                    await link.up.wait()
            yield link
        finally:
            running.cancel()
            await link.aclose()


async def until(is_so: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    """Return when `is_so`, looked at every millisecond; only for what tells nobody. Raises: TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.001)
