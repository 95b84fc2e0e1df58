"""What Redis adds to the contract of a catalog: several nodes, servers that are away or refuse, and what is kept."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from channels.channel import Channel
from channels.errors import (
    AccountChannelLimitExceededException,
    ResourceInUseException,
    VersionMismatchException,
)
from channels.moving import Found
from channels.names import ChannelArn
from channels.redis.commands import Commands
from channels.redis.settings import RedisSettings
from channels.redis.store import RedisStore
from channels.store import StoreUnavailableError
from tests.fault_proxy import FaultProxy
from tests.redis_link import PATIENT_S, hurried, patient_settings
from tests.redis_server import RedisServer

ACCOUNT, REGION = "0" * 12, "us-west-2"


def channel(name: str, version: str = "v1") -> Channel:
    return Channel(ChannelArn("aws", REGION, ACCOUNT, name, 1700000000000), version)


@pytest.fixture
async def nodes(redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[list[RedisStore]]:
    both = [Commands(patient_settings(redis_server.url)) for _ in range(2)]
    yield [RedisStore(commands, redis_prefix) for commands in both]
    for commands in both:
        await commands.aclose()


async def test_one_of_two_nodes_makes_a_channel_and_both_find_it(nodes: list[RedisStore]) -> None:
    outcomes = []

    async def create(store: RedisStore, number: int) -> None:
        try:
            await store.create(channel(f"c{number}"), 100)
            outcomes.append(number)
        except ResourceInUseException:
            pass

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            for store in nodes:
                group.create_task(create(store, number))
    assert sorted(outcomes) == list(range(10))
    for store in nodes:
        page = await store.list(ACCOUNT, REGION, "", "", 100)
        assert [found.arn.name for found in page.channels] == [f"c{number}" for number in range(10)]


async def test_of_two_writers_of_one_version_one_is_told(nodes: list[RedisStore]) -> None:
    await nodes[0].create(channel("c"), 100)
    await nodes[0].replace(channel("c", "v2"), "v1")
    with pytest.raises(VersionMismatchException):
        await nodes[1].replace(channel("c", "v3"), "v1")
    with pytest.raises(VersionMismatchException):
        await nodes[1].delete(channel("c").arn, "v1")


async def test_a_server_that_is_frozen_is_told_within_the_limit(redis_proxy: FaultProxy, redis_prefix: str) -> None:
    commands = Commands(patient_settings(f"redis://127.0.0.1:{redis_proxy.port}"))
    store = RedisStore(commands, redis_prefix)
    await store.create(channel("c"), 10)
    redis_proxy.pause()
    started = time.monotonic()
    with hurried(commands):  # two seconds, but for this test
        calls = (store.get(channel("c").arn), store.list(ACCOUNT, REGION, "", "", 1), store.check())
        assert await asyncio.gather(*(refused(call) for call in calls)) == [True] * 3
    assert time.monotonic() - started < PATIENT_S
    redis_proxy.pass_on()
    assert await store.get(channel("c").arn) == channel("c")
    await commands.aclose()


async def refused(call: object) -> bool:
    try:
        await call  # type: ignore[misc]  # any coroutine
    except StoreUnavailableError:
        return True
    return False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--min-replicas-to-write", "1"), "NOREPLICAS"),
        (("--maxmemory", "1"), "used memory > 'maxmemory'"),
        (("--requirepass", "other"), "Authentication required"),
    ],
)
async def test_a_server_that_takes_no_write_is_unavailable_and_says_why(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    with RedisServer(tmp_path, options=options if "--requirepass" not in options else ()) as server:
        if "--requirepass" in options:
            server.command("CONFIG", "SET", "requirepass", "other")
        commands = Commands(patient_settings(server.url))
        for call in (RedisStore(commands).check(), RedisStore(commands).create(channel("c"), 1)):
            with pytest.raises(StoreUnavailableError, match=words):
                await call
        await commands.aclose()


async def test_a_record_that_somebody_spoiled_is_no_crash(nodes: list[RedisStore], redis_server: RedisServer) -> None:
    await nodes[0].create(channel("c"), 10)
    (records, _) = nodes[0]._keys(ACCOUNT, REGION)
    redis_server.command("HSET", records, "c", "{}")
    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        await nodes[0].get(channel("c").arn)


@pytest.mark.faults
async def test_every_acknowledged_channel_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    # With `everysec` Redis writes nothing while a sync of its disk is under way, and acknowledges all the same.
    with RedisServer(tmp_path, appendonly=True, options=("--appendfsync", "always")) as server:
        commands = Commands(RedisSettings.parse(server.url))
        store = RedisStore(commands)
        acknowledged: list[str] = []
        numbers = itertools.count()
        gone = asyncio.Event()

        async def create_until_it_is_gone() -> None:
            while not gone.is_set():
                name = f"c{next(numbers)}"
                with contextlib.suppress(StoreUnavailableError):  # also while a busy disk does not answer in time
                    await store.create(channel(name), 10_000)
                    acknowledged.append(name)
                if len(acknowledged) >= 300:
                    server.kill()
                    gone.set()

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(create_until_it_is_gone())
        assert len(acknowledged) >= 300
        await asyncio.to_thread(server.start)
        page = await store.list(ACCOUNT, REGION, "", "", 10_000)
        assert set(acknowledged) <= {found.arn.name for found in page.channels}
        await commands.aclose()


async def test_channels_are_brought_as_they_are_and_looked_at_first(nodes: list[RedisStore]) -> None:
    door = Channel(ChannelArn("aws", REGION, ACCOUNT, "door", 1), "v7", message_ttl_s=30, tags={"Größe": "名前"})
    gate = Channel(ChannelArn("aws", "eu-west-1", "1" * 12, "gate", 2), "v1")
    assert await nodes[0].bring([door, gate], is_trial=True) == (Found(), Found())
    assert await nodes[0].get(door.arn) is None
    assert await nodes[0].bring([door, gate], is_trial=False) == (Found(), Found())
    assert (await nodes[1].get(door.arn), await nodes[1].get(gate.arn)) == (door, gate)
    assert (await nodes[1].list(ACCOUNT, REGION, "", "", 10)).channels == (door,)
    assert await nodes[1].bring([door, gate], is_trial=False) == (Found(door, "v7"), Found(gate, "v1"))


async def test_what_has_the_name_stays_and_what_was_deleted_since_does_not_come_back(nodes: list[RedisStore]) -> None:
    other = Channel(ChannelArn("aws", REGION, ACCOUNT, "c", 5), "other")
    await nodes[0].create(other, 10)
    assert await nodes[0].bring([channel("c")], is_trial=False) == (Found(other),)
    assert await nodes[0].get_by_name(ACCOUNT, REGION, "c") == other
    await nodes[0].bring([channel("gone")], is_trial=False)
    await nodes[0].delete(channel("gone").arn, None)
    assert await nodes[0].bring([channel("gone", "v2")], is_trial=False) == (Found(None, "v1"),)
    assert await nodes[0].get_by_name(ACCOUNT, REGION, "gone") is None


async def test_the_limit_of_an_account_counts_what_was_brought_and_does_not_stop_it(nodes: list[RedisStore]) -> None:
    await nodes[0].create(channel("first"), 1)
    await nodes[0].bring([channel(f"c{number}") for number in range(3)], is_trial=False)
    with pytest.raises(AccountChannelLimitExceededException, match="holds 4 channels"):
        await nodes[0].create(channel("next"), 4)
