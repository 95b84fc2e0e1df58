"""The master process that `media.py` measures.

`python -m tests.benchmarks._media_master SOURCE CHANNELS [without-offload]`

With several channels each has a source, a feed and a master of its own, as processes of their own would; the viewers
are dealt out among them.
"""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator

from channels.signaling.client import Message
from media.encoders.encoder import EncoderSettings
from media.feed import Feed
from media.master import Master, MasterSettings
from media.rtp import send
from media.sources.open import open_source
from tests.benchmarks._pipe import PipeClient, PipeConnection, lines


class _Part(PipeConnection):
    """What one of several masters sees of the one pipe."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue(1024)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            yield await self.messages.get()


class _PartClient(PipeClient):
    def __init__(self, part: _Part) -> None:
        self._part = part

    async def open(self) -> PipeConnection:
        return self._part


async def main(source: str, channels: int) -> None:
    parts = [_Part() for _ in range(channels)]
    dealt: dict[str, _Part] = {}
    async with asyncio.TaskGroup() as group:
        for part in parts:
            feed = Feed(open_source(source), EncoderSettings())
            group.create_task(feed.run())
            group.create_task(Master(_PartClient(part), feed, MasterSettings()).run(lambda: None))  # type: ignore[arg-type]
        async for line in lines():
            part = dealt.setdefault(line.client_id, parts[len(dealt) % channels])
            part.messages.put_nowait(Message(line.type, line.payload, line.client_id))
        os._exit(0)  # the benchmark is gone or done: nothing here is worth an orderly end


if __name__ == "__main__":
    if "without-offload" in sys.argv:
        send.OFFLOAD_FAILURES = 0  # as if the kernel had refused it already
    gc.freeze()  # as app/wiring/master.py does
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
