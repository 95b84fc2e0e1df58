"""Links to a test's Redis that are up, and the quick settings that make their faults show within milliseconds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from channels.redis.commands import Commands
from channels.redis.link import Link
from channels.redis.settings import RedisSettings

PATIENT_S = 15.0  # longer than a machine stalls, shorter than a test may take
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


def patient_settings(url: str, **changes: Any) -> RedisSettings:
    """Settings of `url` in which only what is lost for good is a fault, however a busy machine stalls."""
    return quick_settings(url, watchdog_s=PATIENT_S, limit_s=PATIENT_S, **changes)


@contextlib.contextmanager
def hurried(*links: Commands, limit_s: float = 0.2, watchdog_s: float = 0.1) -> Iterator[None]:
    """Let Redis have no longer to answer while the block runs; before and after it a stalling machine takes its time.

    Links of the same settings are hurried together.
    """
    before = [(link, link._settings.limit_s, link._settings.watchdog_s) for link in links]
    for link in links:
        _limit(link, limit_s, watchdog_s)
    try:
        yield
    finally:
        for each in before:
            _limit(*each)


def _limit(link: Commands, limit_s: float, watchdog_s: float) -> None:
    msgspec.structs.force_setattr(link._settings, "limit_s", limit_s)
    msgspec.structs.force_setattr(link._settings, "watchdog_s", watchdog_s)
    if isinstance(link, Link):
        link.limit_s = limit_s


async def until(is_so: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    """Return when `is_so`, looked at every millisecond; only for what tells nobody. Raises: TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.001)
