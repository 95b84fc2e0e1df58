"""One node of the bus benchmark: it sends messages at a rate, only keeps that rate, or receives them.

`python -m tests.benchmarks._bus_node send|pace|receive ours|stock URL PREFIX COUNT RATE`; prints `ready`, waits for a
line, then prints one line of JSON: seconds of processor time and, of a receiver, the latencies in seconds.
"""

import asyncio
import contextlib
import os
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec
import redis.asyncio
import uvloop

from channels.redis.bus import RedisBus
from channels.redis.link import Link
from channels.redis.settings import RedisSettings

PAYLOAD_BYTES = 1_300
TOPIC = "node:b"
_STAMP = struct.Struct("d")


async def keep_pace(post: Callable[[bytes], None], count: int, rate: float) -> None:
    """Post one message at each of `count` evenly spaced moments, stamped with the moment at which it leaves."""
    filling = bytes(PAYLOAD_BYTES - _STAMP.size)
    begin = time.monotonic()
    for number in range(count):
        wait_s = begin + number / rate - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        post(_STAMP.pack(time.monotonic()) + filling)


class Receiver:
    """Takes in `count` messages and how long each was on its way."""

    def __init__(self, count: int) -> None:
        self.latencies: list[float] = []
        self._count = count
        self._done = asyncio.Event()

    def __call__(self, payload: bytes) -> None:
        self.latencies.append(time.monotonic() - _STAMP.unpack_from(payload)[0])
        if len(self.latencies) == self._count:
            self._done.set()

    async def ready(self) -> None:
        """Say that we receive, and return when all has come."""
        print("ready", flush=True)
        await self._done.wait()


@contextlib.asynccontextmanager
async def ours(url: str, prefix: str) -> AsyncIterator[RedisBus]:
    """Our end of the bus."""
    link = Link(msgspec.structs.replace(RedisSettings.parse(url), prefix=prefix))
    async with asyncio.TaskGroup() as group:
        supervised = group.create_task(link.run())
        await link.up.wait()
        yield RedisBus(link)
        supervised.cancel()
    await link.aclose()


class Stock:
    """The same by redis-py: one pipeline for all that was posted in a turn of the loop, and `listen`."""

    def __init__(self, url: str, prefix: str, group: asyncio.TaskGroup) -> None:
        self._client = redis.asyncio.Redis.from_url(url, protocol=2)
        self._topic = f"{prefix}:{TOPIC}"
        self._group = group
        self._posts: list[bytes] = []
        self._news = asyncio.Event()

    def post(self, topic: str, payload: bytes) -> None:
        self._posts.append(payload)
        self._news.set()

    async def publish(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            pipeline = self._client.pipeline(transaction=False)
            posts, self._posts = self._posts, []
            for payload in posts:
                pipeline.publish(self._topic, payload)
            await pipeline.execute()

    async def subscribe(self, topic: str, receive: Callable[[bytes], None]) -> None:
        listener = self._client.pubsub(ignore_subscribe_messages=True)
        await listener.subscribe(self._topic)
        self._group.create_task(self._listen(listener, receive))

    async def _listen(self, listener: redis.asyncio.client.PubSub, receive: Callable[[bytes], None]) -> None:
        async for message in listener.listen():
            receive(message["data"])


@contextlib.asynccontextmanager
async def stock(url: str, prefix: str) -> AsyncIterator[Stock]:
    """The yardstick's end of the bus."""
    async with asyncio.TaskGroup() as group:
        bus = Stock(url, prefix, group)
        group.create_task(bus.publish())
        yield bus
        await asyncio.sleep(0.2)  # what was posted last
        os._exit(0)  # all is said: nothing here is worth an orderly end


async def run(role: str, engine: str, url: str, prefix: str, count: int, rate: float) -> None:
    receiver = Receiver(count)
    async with (ours if engine == "ours" else stock)(url, prefix) as bus:
        if role == "receive":
            await bus.subscribe(TOPIC, receiver)
            began = time.process_time()
            await receiver.ready()
        else:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            began = time.process_time()
            await keep_pace(partial(bus.post, TOPIC) if role == "send" else len, count, rate)
        cpu_s = time.process_time() - began
        print(msgspec.json.encode({"cpu_s": cpu_s, "latencies": receiver.latencies}).decode(), flush=True)


if __name__ == "__main__":
    role, engine, url, prefix, count, rate = sys.argv[1:]
    uvloop.run(run(role, engine, url, prefix, int(count), float(rate)))
