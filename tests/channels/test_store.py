"""The contract of a catalog, held by every implementation."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from channels.channel import Channel, ChannelStatus, ChannelType
from channels.embedded.store import MEMORY, SqliteStore
from channels.errors import (
    AccountChannelLimitExceededException,
    ResourceInUseException,
    ResourceNotFoundException,
    VersionMismatchException,
)
from channels.names import ChannelArn
from channels.redis.commands import Commands
from channels.redis.settings import RedisSettings
from channels.redis.store import RedisStore
from channels.store import Store
from tests.redis_server import RedisServer

ACCOUNT = "000000000000"
REGION = "us-west-2"


def channel(name: str, created_ms: int = 1700000000000, version: str = "v1", **more: object) -> Channel:
    made = Channel(ChannelArn("aws", REGION, ACCOUNT, name, created_ms), version)
    return msgspec.structs.replace(made, **more)


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param != "redis":
        made = SqliteStore(MEMORY if request.param == "memory" else tmp_path / "catalog.sqlite")
        yield made
        made.close()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    commands = Commands(RedisSettings.parse(server.url))
    yield RedisStore(commands, request.getfixturevalue("redis_prefix"))
    await commands.aclose()


async def test_a_created_channel_is_found_by_arn_and_by_name(store: Store) -> None:
    made = channel("demo", message_ttl_s=30, tags={"Größe": "名前"}, type=ChannelType.SINGLE_MASTER)
    await store.create(made, 10)
    assert await store.get(made.arn) == made
    assert await store.get_by_name(ACCOUNT, REGION, "demo") == made


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": "aws-cn"},
        {"region": "eu-west-1"},
        {"account": "111111111111"},
        {"name": "other"},
        {"created_ms": 1700000000001},
        {"created_ms": 10**19 - 1},
    ],
)
async def test_no_other_arn_finds_it(store: Store, changes: dict[str, object]) -> None:
    made = channel("demo")
    await store.create(made, 10)
    foreign = msgspec.structs.replace(made.arn, **changes)
    assert await store.get(foreign) is None
    with pytest.raises(ResourceNotFoundException):
        await store.delete(foreign, None)
    with pytest.raises(ResourceNotFoundException):
        await store.replace(msgspec.structs.replace(made, arn=foreign), "v1")
    assert await store.get(made.arn) == made


async def test_a_name_is_taken_once_in_its_account_and_region(store: Store) -> None:
    await store.create(channel("demo"), 10)
    with pytest.raises(ResourceInUseException, match="demo"):
        await store.create(channel("demo", 1700000000001), 10)
    elsewhere = channel("demo")
    await store.create(msgspec.structs.replace(elsewhere, arn=ChannelArn("aws", "eu-west-1", ACCOUNT, "demo", 1)), 10)
    await store.create(msgspec.structs.replace(elsewhere, arn=ChannelArn("aws", REGION, "1" * 12, "demo", 1)), 10)


async def test_of_racing_creates_one_wins(store: Store) -> None:
    outcomes: list[str] = []

    async def create(number: int) -> None:
        try:
            await store.create(channel("demo", 1700000000000 + number), 100)
            outcomes.append("created")
        except ResourceInUseException:
            outcomes.append("taken")

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(create(number))
    assert sorted(outcomes) == ["created"] + ["taken"] * 19


async def test_the_account_limit_is_named_and_a_delete_makes_room(store: Store) -> None:
    for number in range(3):
        await store.create(channel(f"c{number}"), 3)
    with pytest.raises(AccountChannelLimitExceededException) as caught:
        await store.create(channel("c3"), 3)
    assert caught.value.limit is not None
    assert caught.value.limit.value == 3
    await store.delete(channel("c0").arn, None)
    await store.create(channel("c3"), 3)


async def test_replace_needs_the_version_expected(store: Store) -> None:
    await store.create(channel("demo"), 10)
    changed = channel("demo", version="v2", message_ttl_s=120, status=ChannelStatus.UPDATING, tags={"a": "b"})
    await store.replace(changed, "v1")
    assert await store.get(changed.arn) == changed
    with pytest.raises(VersionMismatchException):
        await store.replace(channel("demo", version="v3"), "v1")
    assert await store.get(changed.arn) == changed


async def test_replace_of_a_channel_that_is_not_there(store: Store) -> None:
    with pytest.raises(ResourceNotFoundException):
        await store.replace(channel("demo"), "v1")


async def test_delete_with_and_without_a_version(store: Store) -> None:
    made = channel("demo")
    await store.create(made, 10)
    with pytest.raises(VersionMismatchException):
        await store.delete(made.arn, "v0")
    await store.delete(made.arn, "v1")
    assert await store.get(made.arn) is None
    with pytest.raises(ResourceNotFoundException):
        await store.delete(made.arn, None)
    again = channel("demo", 1700000000001)
    await store.create(again, 10)
    assert await store.get(made.arn) is None
    assert await store.get(again.arn) == again


async def test_a_listing_is_in_name_order_and_paged(store: Store) -> None:
    names = ["Zoo", "a", "a-1", "a.b", "a_c", "aa", "b", "b" * 256]
    for name in names:
        await store.create(channel(name), 100)
    await store.create(
        msgspec.structs.replace(channel("x"), arn=ChannelArn("aws", REGION, "1" * 12, "a-other-account", 1)), 100
    )
    seen: list[str] = []
    after = ""
    while True:
        page = await store.list(ACCOUNT, REGION, "", after, 3)
        seen += [found.arn.name for found in page.channels]
        if page.next_name is None:
            break
        assert len(page.channels) == 3
        assert page.next_name == seen[-1]
        after = page.next_name
    assert seen == sorted(names)


async def test_a_page_that_just_fits_is_the_last(store: Store) -> None:
    for name in ("a", "b"):
        await store.create(channel(name), 100)
    assert (await store.list(ACCOUNT, REGION, "", "", 2)).next_name is None
    assert (await store.list(ACCOUNT, REGION, "", "", 1)).next_name == "a"
    assert (await store.list(ACCOUNT, REGION, "", "b", 1)).channels == ()


async def test_a_prefix_takes_exactly_its_names(store: Store) -> None:
    for name in ("ca", "cam", "cam-1", "cam-2", "cam_", "can", "Cam-3", "%", "_"):
        await store.create(channel(name), 100)
    page = await store.list(ACCOUNT, REGION, "cam", "", 100)
    assert [found.arn.name for found in page.channels] == ["cam", "cam-1", "cam-2", "cam_"]
    page = await store.list(ACCOUNT, REGION, "cam", "cam-1", 100)
    assert [found.arn.name for found in page.channels] == ["cam-2", "cam_"]
    assert [found.arn.name for found in (await store.list(ACCOUNT, REGION, "_", "", 9)).channels] == ["_"]
    assert (await store.list(ACCOUNT, REGION, "none", "", 9)).channels == ()


async def test_a_living_catalog_answers_its_check(store: Store) -> None:
    await store.check()
