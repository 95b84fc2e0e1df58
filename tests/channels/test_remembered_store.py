"""While the catalog answers, every read is its own; while it does not, what was read lately answers for it."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from channels.channel import Channel
from channels.embedded.store import MEMORY, SqliteStore
from channels.errors import VersionMismatchException
from channels.names import ChannelArn
from channels.remembered_store import RememberedStore
from channels.store import Store, StoreUnavailableError

ACCOUNT, REGION = "0" * 12, "us-west-2"
DOOR = Channel(ChannelArn("aws", REGION, ACCOUNT, "door", 1), "v1")
GATE = Channel(ChannelArn("aws", REGION, ACCOUNT, "gate", 1), "v1")


class Outage:
    """A catalog that can be away, or slow to answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = False
        self.asked = 0
        self.hold: asyncio.Event | None = None
        self.hold_delete: asyncio.Event | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        if self.hold_delete is not None:
            await self.hold_delete.wait()
        await self._store.delete(arn, expected_version)

    async def get_by_name(self, account: str, region: str, name: str) -> Channel | None:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailableError("away")
        found = await self._store.get_by_name(account, region, name)
        if self.hold is not None:
            await self.hold.wait()
        return found


class World:
    def __init__(self, store: SqliteStore) -> None:
        self.now = 0.0
        self.catalog = Outage(store)
        self.other_node = store
        self.store = RememberedStore(self.catalog, lambda: self.now, limit=2, patience_s=0.01)  # type: ignore[arg-type]  # by __getattr__


@pytest.fixture
def world() -> Iterator[World]:
    store = SqliteStore(MEMORY)
    yield World(store)
    store.close()


async def test_every_read_is_of_the_catalog_while_it_answers(world: World) -> None:
    await world.store.create(DOOR, 9)
    await world.other_node.replace(msgspec.structs.replace(DOOR, version="v2"), "v1")
    found = await world.store.get(DOOR.arn)
    assert found is not None
    assert found.version == "v2"
    await world.other_node.delete(DOOR.arn, None)
    assert await world.store.get(DOOR.arn) is None
    world.catalog.is_away = True
    with pytest.raises(StoreUnavailableError):
        await world.store.get(DOOR.arn)


async def test_what_was_read_answers_for_thirty_seconds_of_an_outage(world: World) -> None:
    await world.store.create(DOOR, 9)
    await world.store.get(DOOR.arn)
    world.catalog.is_away = True
    world.now = 29.9
    assert await world.store.get(DOOR.arn) == DOOR
    assert await world.store.get_by_name(ACCOUNT, REGION, "door") == DOOR
    assert await world.store.get(msgspec.structs.replace(DOOR.arn, created_ms=2)) is None
    with pytest.raises(StoreUnavailableError):
        await world.store.get(GATE.arn)
    world.now = 30.0
    with pytest.raises(StoreUnavailableError):
        await world.store.get(DOOR.arn)
    assert world.store.stats.recalled == 3
    assert world.store.stats.missed == 2


async def test_a_catalog_that_is_away_is_not_asked_by_each_who_can_be_answered(world: World) -> None:
    await world.store.create(DOOR, 9)
    world.catalog.is_away = True
    for _ in range(10):
        await world.store.get(DOOR.arn)
    assert world.catalog.asked == 1
    world.now = 1.0
    world.catalog.is_away = False
    await world.store.get(DOOR.arn)
    await world.store.get(DOOR.arn)
    assert world.catalog.asked == 3


async def test_what_is_remembered_is_not_waited_for(world: World) -> None:
    await world.store.create(DOOR, 9)
    world.catalog.hold = asyncio.Event()  # it is frozen
    assert await world.store.get(DOOR.arn) == DOOR
    world.now = 0.5
    assert await world.store.get(DOOR.arn) == DOOR
    assert (world.store.stats.recalled, world.catalog.asked) == (2, 1)
    world.now = 30.0
    reading = asyncio.ensure_future(world.store.get(DOOR.arn))
    await asyncio.sleep(0.02)
    assert not reading.done(), "what is too old may be waited for"
    world.catalog.hold.set()
    assert await reading == DOOR


async def test_what_was_deleted_or_changed_is_not_remembered(world: World) -> None:
    for channel in (DOOR, GATE):
        await world.store.create(channel, 9)
    await world.store.replace(msgspec.structs.replace(DOOR, version="v2"), "v1")
    with pytest.raises(VersionMismatchException):
        await world.store.delete(GATE.arn, "v9")
    world.catalog.is_away = True
    for channel in (DOOR, GATE):
        with pytest.raises(StoreUnavailableError):
            await world.store.get(channel.arn)


async def test_what_another_node_deleted_is_not_remembered_also_when_it_is_being_read(world: World) -> None:
    await world.store.create(DOOR, 9)
    world.catalog.hold = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(world.store.get(DOOR.arn))
        while not world.catalog.asked:  # noqa: ASYNC110  # a turn of the loop
            await asyncio.sleep(0)
        await world.other_node.delete(DOOR.arn, None)
        world.store.forget(DOOR.arn)
        world.catalog.hold.set()
    assert reading.result() == DOOR  # as it was when we asked
    world.catalog.is_away = True
    with pytest.raises(StoreUnavailableError):
        await world.store.get(DOOR.arn)


async def test_what_was_read_while_it_was_being_deleted_is_not_remembered(world: World) -> None:
    await world.store.create(DOOR, 9)
    world.catalog.hold_delete = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.store.delete(DOOR.arn, None))
        await asyncio.sleep(0)
        assert await world.store.get(DOOR.arn) == DOOR
        world.catalog.hold_delete.set()
    world.catalog.is_away = True
    with pytest.raises(StoreUnavailableError):
        await world.store.get(DOOR.arn)


async def test_all_can_be_forgotten_and_not_too_much_is_kept(world: World) -> None:
    for channel in (DOOR, GATE, msgspec.structs.replace(GATE, arn=msgspec.structs.replace(GATE.arn, name="yard"))):
        await world.store.create(channel, 9)
    assert len(world.store) == 2
    world.store.forget_all()
    assert len(world.store) == 0


async def test_what_is_no_read_of_one_channel_goes_through(world: World) -> None:
    await world.store.create(DOOR, 9)
    assert (await world.store.list(ACCOUNT, REGION, "", "", 9)).channels == (DOOR,)
    await world.store.check()
