"""A running feed and sinks that keep what they get."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from media.encoders.encoder import AccessUnit, EncoderSettings
from media.feed import Feed
from media.sources.pattern import PatternSource
from media.sources.source import Source

QUICK = EncoderSettings(bitrate_bps=200_000, linger_s=0.05)

LIMIT_S = 40.0  # below that of a test


def pattern() -> PatternSource:
    return PatternSource(160, 90, 60)


class Watcher:
    """A sink that keeps what it gets and lets a test wait for it."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []
        self._more = asyncio.Event()

    def __call__(self, unit: AccessUnit) -> None:
        self.units.append(unit)
        self._more.set()

    async def until(self, condition: Callable[["Watcher"], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition(self):
                self._more.clear()
                await self._more.wait()

    async def has(self, count: int) -> list[AccessUnit]:
        await self.until(lambda watcher: len(watcher.units) >= count)
        return self.units


@asynccontextmanager
async def running(source: Source, settings: EncoderSettings = QUICK) -> AsyncIterator[Feed]:
    feed = Feed(source, settings)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert media_threads() == set()


def is_disturbed(feed: Feed) -> bool:
    """Whether the machine stood still so long that the source began its time anew or somebody lost pictures."""
    source, lines = feed.stats.source, (*feed.stats.encoders.values(), *feed.stats.passed.values())
    return source.rebased > 0 or source.slates > 0 or any(line.dropped_units for line in lines)


def media_threads() -> set[str]:
    return {
        thread.name
        for thread in threading.enumerate()
        if thread.name in ("source", "decode") or thread.name.startswith("encode-")
    }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # the end of a thread rings no bell
