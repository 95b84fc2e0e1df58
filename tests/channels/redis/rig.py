"""Parts for tests over a real Redis: nodes' views of one presence, ends of one mailbox."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from channels.redis.link import Link
from channels.redis.mailbox import RedisMailbox
from channels.redis.presence import PresenceSettings, RedisPresence
from channels.redis.settings import RedisSettings
from channels.signaling.limits import Limits
from tests.redis_link import quick_settings
from tests.redis_server import RedisServer


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


@contextlib.asynccontextmanager
async def redis_presence(
    url: str,
    prefix: str,
    *nodes: str,
    settings: PresenceSettings | None = None,
    limit_s: float = 5.0,
    now: Callable[[], float] = time.monotonic,
) -> AsyncIterator[list[RedisPresence]]:
    """Views of these nodes, each over a link of its own; none keeps its node lease by itself."""
    async with links(quick_settings(url, prefix=prefix, limit_s=limit_s), len(nodes)) as made:
        yield [RedisPresence(link, node, settings, now) for link, node in zip(made, nodes, strict=True)]


@contextlib.asynccontextmanager
async def redis_mailboxes(url: str, prefix: str, limits: Limits) -> AsyncIterator[list[RedisMailbox]]:
    """Two ends of one mailbox, each over a link of its own; both settle what they take."""
    async with links(quick_settings(url, prefix=prefix, limit_s=5.0), 2) as made:
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
