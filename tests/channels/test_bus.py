"""The contract of a bus, held by every implementation: each node holds its own end."""

import asyncio

import pytest

from channels.bus import Bus
from channels.embedded.bus import EmbeddedBus


@pytest.fixture(params=["embedded"])
def ends() -> tuple[Bus, Bus]:
    """Two nodes' ends of one bus."""
    bus = EmbeddedBus()
    return bus, bus.join()


async def test_what_one_node_publishes_the_other_receives_in_order(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    received: list[bytes] = []
    await there.subscribe("node:b", received.append)

    for number in range(50):
        assert await here.publish("node:b", b"%d" % number) == 1

    assert received == [b"%d" % number for number in range(50)]


async def test_publishing_to_nobody_reaches_nobody(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    await there.subscribe("node:b", bytes)

    assert await here.publish("node:c", b"x") == 0


async def test_every_node_on_a_topic_receives(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    received: list[tuple[str, bytes]] = []
    await here.subscribe("nodes", lambda payload: received.append(("a", payload)))
    await there.subscribe("nodes", lambda payload: received.append(("b", payload)))

    assert await here.publish("nodes", b"x") == 2

    assert sorted(received) == [("a", b"x"), ("b", b"x")]


async def test_a_node_that_unsubscribed_receives_nothing_and_others_still_do(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    received: list[bytes] = []
    await here.subscribe("nodes", received.append)
    await there.subscribe("nodes", received.append)

    await there.unsubscribe("nodes")
    await there.unsubscribe("never")

    assert await here.publish("nodes", b"x") == 1
    assert received == [b"x"]


async def test_what_is_posted_arrives_in_order_with_what_is_published(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    received: list[bytes] = []
    arrived = asyncio.Event()

    def receive(payload: bytes) -> None:
        received.append(payload)
        if len(received) == 23:
            arrived.set()

    await there.subscribe("node:b", receive)

    for number in range(20):
        here.post("node:b", b"%d" % number)
    assert await here.publish("node:b", b"20") == 1
    here.post("node:c", b"to nobody")
    here.post("node:b", b"21")
    assert await here.publish("node:b", b"22") == 1

    async with asyncio.timeout(5):
        await arrived.wait()
    assert received == [b"%d" % number for number in range(23)]


async def test_what_is_posted_to_nobody_is_named(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    unheard: list[tuple[str, bytes]] = []
    was_named = asyncio.Event()

    def listen(topic: str, payload: bytes) -> None:
        unheard.append((topic, payload))
        was_named.set()

    await there.subscribe("node:b", bytes)
    here.on_unheard(listen)
    here.post("node:b", b"heard")
    here.post("node:c", b"unheard")

    async with asyncio.timeout(5):
        await was_named.wait()
    assert await here.publish("node:b", b"heard") == 1
    assert unheard == [("node:c", b"unheard")]


async def test_payloads_are_opaque_bytes(ends: tuple[Bus, Bus]) -> None:
    here, there = ends
    received: list[bytes] = []
    await there.subscribe("t", received.append)
    payload = bytes(range(256)) * 100

    await here.publish("t", payload)

    assert received == [payload]
