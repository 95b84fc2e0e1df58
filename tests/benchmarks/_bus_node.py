"""One node of the bus benchmark: it sends messages at a rate, only keeps that rate, or receives them.

`python -m tests.benchmarks._bus_node send|pace|receive URL PREFIX COUNT RATE`; prints `ready`, waits for a line, then
prints one line of JSON: seconds of processor time and, of a receiver, the latencies in seconds.
"""

import asyncio
import struct
import sys
import time

import msgspec
import uvloop

from channels.redis.bus import RedisBus
from channels.redis.link import Link
from channels.redis.settings import RedisSettings

PAYLOAD_BYTES = 1_300
TOPIC = "node:b"
_STAMP = struct.Struct("d")


async def keep_pace(bus: RedisBus, count: int, rate: float, *, is_sending: bool) -> None:
    """Post one message at each of `count` evenly spaced moments, stamped with the moment at which it was due."""
    filling = bytes(PAYLOAD_BYTES - _STAMP.size)
    begin = time.monotonic()
    for number in range(count):
        due = begin + number / rate
        wait_s = due - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if is_sending:
            bus.post(TOPIC, _STAMP.pack(time.monotonic()) + filling)


async def receive(bus: RedisBus, count: int) -> list[float]:
    """Return how long each message was on its way."""
    latencies: list[float] = []
    done = asyncio.Event()

    def take(payload: bytes) -> None:
        latencies.append(time.monotonic() - _STAMP.unpack_from(payload)[0])
        if len(latencies) == count:
            done.set()

    await bus.subscribe(TOPIC, take)
    print("ready", flush=True)
    await done.wait()
    return latencies


async def run(role: str, url: str, prefix: str, count: int, rate: float) -> None:
    link = Link(msgspec.structs.replace(RedisSettings.parse(url), prefix=prefix))
    bus = RedisBus(link)
    latencies: list[float] = []
    async with asyncio.TaskGroup() as group:
        supervised = group.create_task(link.run())
        await link.up.wait()
        if role == "receive":
            began = time.process_time()
            latencies = await receive(bus, count)
        else:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            began = time.process_time()
            await keep_pace(bus, count, rate, is_sending=role == "send")
        cpu_s = time.process_time() - began
        supervised.cancel()
    await link.aclose()
    print(msgspec.json.encode({"cpu_s": cpu_s, "latencies": latencies}).decode(), flush=True)


if __name__ == "__main__":
    role, url, prefix, count, rate = sys.argv[1:]
    uvloop.run(run(role, url, prefix, int(count), float(rate)))
