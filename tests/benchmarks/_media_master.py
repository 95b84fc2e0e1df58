"""The master process that `media.py` measures: `python -m tests.benchmarks._media_master SOURCE`."""

import asyncio
import sys

from media.encoders.encoder import EncoderSettings
from media.feed import Feed
from media.master import Master, MasterSettings
from media.sources.open import open_source
from tests.benchmarks._pipe import PipeClient


async def main() -> None:
    feed = Feed(open_source(sys.argv[1]), EncoderSettings())
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        group.create_task(Master(PipeClient(), feed, MasterSettings()).run(lambda: None))  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main())
