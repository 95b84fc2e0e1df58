"""Parts for tests over a real Redis: nodes' views of one presence, ends of one mailbox."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from channels.redis.link import Link
from channels.redis.mailbox import RedisMailbox
from channels.redis.nodes import NodeSettings
from channels.redis.presence import PresenceSettings, RedisPresence
from channels.redis.settings import RedisSettings
from channels.signaling.limits import Limits
from tests.redis_link import PATIENT_S, patient_settings
from tests.redis_server import RedisServer

# However the machine stalls, no node lapses by itself, and there is no silence, hence no amnesty.
CALM = PresenceSettings(node=NodeSettings(lease_s=30.0, renew_s=60.0), admit_s=PATIENT_S, stop_s=PATIENT_S)


@contextlib.asynccontextmanager
async def links(settings: RedisSettings, count: int) -> AsyncIterator[list[Link]]:
    """Links that do commands, and are not supervised."""
    made = [Link(settings) for _ in range(count)]
    try:
        yield made
    finally:
        for link in made:
            await link.aclose()


def lapse(server: RedisServer, prefix: str, node: str, ago_s: float = 0.001) -> None:
    """Let the lease of a node have ended so long ago, as if it had died."""
    reply = server.command("TIME")
    assert isinstance(reply, list)
    seconds, microseconds = (int(part) for part in reply if isinstance(part, bytes))
    end_ms = seconds * 1000 + microseconds // 1000 - int(ago_s * 1000)
    server.command("ZADD", f"{prefix}:{{nodes}}:leases", "XX", end_ms, node)


def age(server: RedisServer, prefix: str, channel: str, by_s: float) -> None:
    """Let all leases of a channel end so much earlier, as if that time had passed: that of Redis cannot be moved."""
    key = f"{prefix}:{{{channel}}}:slots"
    found = server.command("HGETALL", key)
    assert isinstance(found, list)
    for slot, value in zip(found[::2], found[1::2], strict=True):
        assert isinstance(slot, bytes)
        assert isinstance(value, bytes)
        if slot != b"fence":
            end_ms, *rest = value.split(b" ")
            server.command("HSET", key, slot, b" ".join((b"%d" % (int(end_ms) - int(by_s * 1000)), *rest)))


@contextlib.asynccontextmanager
async def redis_presence(
    url: str,
    prefix: str,
    *nodes: str,
    settings: PresenceSettings = CALM,
    now: Callable[[], float] = time.monotonic,
) -> AsyncIterator[list[RedisPresence]]:
    """Views of these nodes, each over a link of its own; none keeps its node lease by itself."""
    async with links(patient_settings(url, prefix=prefix), len(nodes)) as made:
        yield [RedisPresence(link, node, settings, now) for link, node in zip(made, nodes, strict=True)]


@contextlib.asynccontextmanager
async def redis_mailboxes(url: str, prefix: str, limits: Limits) -> AsyncIterator[list[RedisMailbox]]:
    """Two ends of one mailbox, each over a link of its own; both settle what they take."""
    async with links(patient_settings(url, prefix=prefix), 2) as made:
        boxes = [RedisMailbox(link, limits) for link in made]
        async with running(*(box.run() for box in boxes)):
            yield boxes


@contextlib.asynccontextmanager
async def running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run these until the end of the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
