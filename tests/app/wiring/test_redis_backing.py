import asyncio

import msgspec

from app.settings import Settings
from app.wiring.redis_backing import AllInRedis, CatalogInRedis, in_redis
from app.wiring.redis_start import RedisPlaces, places
from channels.channel import Channel
from channels.names import ChannelArn, Role
from channels.redis.presence import PresenceSettings
from channels.signaling.limits import Limits
from tests.redis_link import until
from tests.redis_server import RedisServer

DOOR = Channel(ChannelArn("aws", "us-west-2", "0" * 12, "door", 1), "v1")


def of(**urls: str) -> RedisPlaces:
    found = places(Settings(**urls))
    assert found is not None
    return found


async def test_leases_last_as_long_as_the_settings_say() -> None:
    found = places(Settings(redis_url="redis://a", node_lease_s=5.0, connection_lease_s=30.0))
    assert found is not None
    node = in_redis(found, Limits.aws())
    assert isinstance(node, AllInRedis)
    assert node.presence._settings == PresenceSettings.of(30.0, 5.0)
    assert node.slots._settings.lease_s == 5.0


async def test_two_nodes_share_channels_and_connections(redis_server: RedisServer, redis_prefix: str) -> None:
    urls = {"redis_url": redis_server.url, "redis_prefix": redis_prefix}
    one, other = (in_redis(of(**urls), Limits.aws()) for _ in range(2))
    assert isinstance(one, AllInRedis)
    assert isinstance(other, AllInRedis)
    assert one.node != other.node
    for node in (one, other):  # so that they look when they are told to
        node.slots._settings = msgspec.structs.replace(node.slots._settings, sync_s=60.0)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        working = [group.create_task(node.work()) for node in (one, other)]
        for node in (one, other):
            await node.link.up.wait()
        await until(lambda: [len(node.slots.live) for node in (one, other)] == [2, 2])
        await one.store.create(DOOR, 9)
        assert await other.store.get(DOOR.arn) == DOOR
        await one.presence.admit(str(DOOR.arn), Role.MASTER, "", "c", 10)
        found = await other.presence.locate(str(DOOR.arn), Role.MASTER, "")
        assert found is not None
        assert found.node == one.node
        assert len(other.store) == 1
        other.forget(DOOR.arn)
        assert len(other.store) == 0
        assert await one.checks["redis"]() is None
        assert one.link_numbers()["red_s"] == 0.0
        for task in working:
            task.cancel()
    one.close()


async def test_a_slot_that_came_before_the_link_is_told_with_it(redis_server: RedisServer, redis_prefix: str) -> None:
    urls = {"redis_url": redis_server.url, "redis_prefix": redis_prefix}
    one, other = (in_redis(of(**urls), Limits.aws()) for _ in range(2))
    assert isinstance(one, AllInRedis)
    assert isinstance(other, AllInRedis)
    other.slots._settings = msgspec.structs.replace(other.slots._settings, sync_s=60.0)  # it looks when it is told to
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        working = [group.create_task(other.work())]
        await other.link.up.wait()
        await until(lambda: len(other.slots.live) == 1)
        await one.slots.sync()
        working.append(group.create_task(one.work()))
        await until(lambda: len(other.slots.live) == 2)
        for task in working:
            task.cancel()


async def test_a_link_that_has_been_away_for_long_is_not_ready() -> None:
    node = in_redis(of(redis_url="redis://127.0.0.1:1"), Limits.aws())
    assert isinstance(node, AllInRedis)
    assert node.link._red_since is not None
    assert await node.checks["redis"]() is None
    node.link._red_since -= 6.0
    assert await node.checks["redis"]() == "no messages go through Redis for 6 s"


async def test_a_catalog_alone_is_for_one_process(redis_server: RedisServer, redis_prefix: str) -> None:
    node = in_redis(of(catalog_url=redis_server.url, redis_prefix=redis_prefix), Limits.aws())
    assert isinstance(node, CatalogInRedis)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(node.work())
        await node.store.create(DOOR, 9)
        node.forget(DOOR.arn)
        assert len(node.store) == 0
        working.cancel()
    node.close()
    assert (node.mailbox, node.checks, node.link_numbers) == (None, {}, None)
