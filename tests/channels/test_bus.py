"""The contract of a bus, held by every implementation: each node holds its own end."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from channels.bus import Bus
from channels.embedded.bus import EmbeddedBus
from channels.redis.bus import RedisBus
from tests.redis_link import quick_settings, running_link
from tests.redis_server import RedisServer

Ends = tuple[Bus, Bus]


@pytest.fixture(params=["embedded", "redis"])
async def ends(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[Ends]:
    """Two nodes' ends of one bus."""
    if request.param == "embedded":
        bus = EmbeddedBus()
        yield bus, bus.join()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    settings = quick_settings(server.url, prefix=redis_prefix, limit_s=5.0, watchdog_s=5.0)
    async with running_link(settings) as here, running_link(settings) as there:
        yield RedisBus(here), RedisBus(there)


class Inbox:
    """What a subscriber received, in order; a call takes a payload in."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._came = asyncio.Event()

    def __call__(self, payload: bytes) -> None:
        self.received.append(payload)
        self._came.set()

    async def holds(self, count: int) -> list[bytes]:
        async with asyncio.timeout(15):
            while len(self.received) < count:
                self._came.clear()
                await self._came.wait()
        return self.received


async def test_what_one_node_publishes_the_other_receives_in_order(ends: Ends) -> None:
    here, there = ends
    inbox = Inbox()
    await there.subscribe("node:b", inbox)

    for number in range(50):
        assert await here.publish("node:b", b"%d" % number) == 1

    assert await inbox.holds(50) == [b"%d" % number for number in range(50)]


async def test_publishing_to_nobody_reaches_nobody(ends: Ends) -> None:
    here, there = ends
    await there.subscribe("node:b", bytes)

    assert await here.publish("node:c", b"x") == 0


async def test_every_node_on_a_topic_receives(ends: Ends) -> None:
    here, there = ends
    inboxes = Inbox(), Inbox()
    await here.subscribe("nodes", inboxes[0])
    await there.subscribe("nodes", inboxes[1])

    assert await here.publish("nodes", b"x") == 2

    assert [await inbox.holds(1) for inbox in inboxes] == [[b"x"], [b"x"]]


async def test_a_later_receiver_takes_the_place_of_an_earlier_one(ends: Ends) -> None:
    here, there = ends
    earlier, later = Inbox(), Inbox()
    await there.subscribe("node:b", earlier)
    await there.subscribe("node:b", later)

    assert await here.publish("node:b", b"x") == 1

    assert await later.holds(1) == [b"x"]
    assert earlier.received == []


async def test_a_node_that_unsubscribed_receives_nothing_and_others_still_do(ends: Ends) -> None:
    here, there = ends
    inbox, other = Inbox(), Inbox()
    await here.subscribe("nodes", other)
    await there.subscribe("nodes", inbox)
    await there.subscribe("last", inbox)

    await there.unsubscribe("nodes")
    await there.unsubscribe("never")

    assert await here.publish("nodes", b"x") == 1
    assert await here.publish("last", b"last") == 1
    assert await other.holds(1) == [b"x"]
    assert await inbox.holds(1) == [b"last"]


async def test_what_is_posted_arrives_in_order_with_what_is_published(ends: Ends) -> None:
    here, there = ends
    inbox = Inbox()
    await there.subscribe("node:b", inbox)

    for number in range(20):
        here.post("node:b", b"%d" % number)
    assert await here.publish("node:b", b"20") == 1
    here.post("node:c", b"to nobody")
    here.post_all([("node:b", b"21"), ("node:c", b"to nobody"), ("node:b", b"22")])
    assert await here.publish("node:b", b"23") == 1

    assert await inbox.holds(24) == [b"%d" % number for number in range(24)]


async def test_what_is_posted_to_nobody_is_named(ends: Ends) -> None:
    here, there = ends
    unheard: list[tuple[str, bytes]] = []
    was_named = asyncio.Event()

    def listen(topic: str, payload: bytes) -> None:
        unheard.append((topic, payload))
        was_named.set()

    await there.subscribe("node:b", bytes)
    here.on_unheard(listen)
    here.post("node:b", b"heard")
    here.post_all([("node:b", b"heard"), ("node:c", b"unheard")])

    async with asyncio.timeout(15):
        await was_named.wait()
    assert await here.publish("node:b", b"heard") == 1
    assert unheard == [("node:c", b"unheard")]


async def test_payloads_are_opaque_bytes(ends: Ends) -> None:
    here, there = ends
    inbox = Inbox()
    await there.subscribe("t", inbox)
    payload = bytes(range(256)) * 1_000

    await here.publish("t", payload)

    assert await inbox.holds(1) == [payload]
