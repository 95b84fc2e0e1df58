"""What one node deletes or changes, the others hear, and it does not hear itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from channels.catalog_news import TOPIC, CatalogNews
from channels.channel import Channel
from channels.embedded.bus import EmbeddedBus
from channels.names import ChannelArn

DOOR = Channel(ChannelArn("aws", "us-west-2", "0" * 12, "door", 1), "v1", message_ttl_s=5, tags={"a": "b"})


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[CatalogNews, CatalogNews, list[object], EmbeddedBus]]:
    bus, heard = EmbeddedBus(), list[object]()
    nodes = CatalogNews(bus, "a"), CatalogNews(bus.join(), "b")
    for node in nodes:
        node.on_deleted.append(heard.append)
        node.on_updated.append(heard.append)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.run()) for node in nodes]
        await asyncio.sleep(0)
        yield *nodes, heard, bus
        for task in tasks:
            task.cancel()
    assert await bus.publish(TOPIC, b"") == 0


async def test_the_others_hear_and_the_node_itself_does_not() -> None:
    async with two_nodes() as (one, other, heard, _):
        one.tell_updated(DOOR)
        other.tell_deleted(DOOR.arn)
        await asyncio.sleep(0)
    assert heard == [DOOR, DOOR.arn]
    assert (one.stats.told, one.stats.heard, other.stats.heard) == (1, 1, 1)


async def test_deletions_are_told_again_by_a_node_that_was_cut_off() -> None:
    async with two_nodes() as (one, _, heard, _bus):
        one.tell_updated(DOOR)
        one.tell_deleted(DOOR.arn)
        one.tell_again()
        await asyncio.sleep(0)
    assert heard == [DOOR, DOOR.arn, DOOR.arn]


@pytest.mark.parametrize("payload", [b"", b"noise", b"\x83\xa4type\xa7deleted\xa4node\xa1x\xa3arn\xa1y"])
async def test_noise_is_counted(payload: bytes) -> None:
    async with two_nodes() as (one, _, heard, bus):
        await bus.publish(TOPIC, payload)
    assert heard == []
    assert one.stats.refused == 1
