"""A small feed and a running master, for tests with real peer connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from media.encoders.encoder import EncoderSettings
from media.feed import Feed
from media.master import Master, MasterSettings
from media.sources.open import open_source
from tests.media.line import Line

SMALL = "test?size=320x180&fps=30"


@asynccontextmanager
async def running_feed(source: str = SMALL) -> AsyncIterator[Feed]:
    feed = Feed(open_source(source), EncoderSettings(bitrate_bps=300_000))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(feed.run())
        try:
            yield feed
        finally:
            task.cancel()


@asynccontextmanager
async def running_master(line: Line, settings: MasterSettings | None = None) -> AsyncIterator[Master]:
    async with running_feed() as feed, asyncio.TaskGroup() as group:
        master = Master(line.client(), feed, settings or MasterSettings())  # type: ignore[arg-type]
        ready = asyncio.Event()
        task = group.create_task(master.run(ready.set))
        await ready.wait()
        try:
            yield master
        finally:
            task.cancel()
