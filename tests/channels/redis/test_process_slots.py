"""Numbers of processes over a real Redis: each has one, no two have the same, and a process keeps its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from channels.owners import Place, Slot, Wish
from channels.redis.clock import RedisClock
from channels.redis.commands import RedisUnavailableError
from channels.redis.nodes import Nodes, NodeSettings
from channels.redis.process_slots import ProcessSlots, SlotSettings
from channels.redis.settings import RedisSettings
from tests.channels.redis.rig import lapse, links, running
from tests.redis_link import patient_settings, quick_settings, running_link, until
from tests.redis_server import RedisServer

HERE = Place("here.test:8443", 8080, 8443, "m1")
SETTINGS = SlotSettings()  # leases of nodes last longer here, so that a busy machine ends none


class Fleet:
    """Processes by the names of their nodes, each over a link of its own; none looks at the table by itself."""

    def __init__(self, server: RedisServer, prefix: str, made: list[ProcessSlots], nodes: dict[str, Nodes]) -> None:
        self._server = server
        self._prefix = prefix
        self.made = made
        self._nodes = nodes

    async def join(self, *which: int) -> None:
        """Let these have leases, and a look."""
        for number in which:
            slots = self.made[number]
            await self._nodes[slots._node].renew()
            await slots.sync()

    def die(self, number: int, ago_s: float = 0.001) -> None:
        lapse(self._server, self._prefix, self.made[number]._node, ago_s)

    def age(self, number: int, by_s: float) -> None:
        """Let the process have been seen for the last time so long ago."""
        field = str(self.made[number].number)
        value = self._server.command("HGET", self.table, field)
        assert isinstance(value, bytes)
        node, token, seen, rest = value.decode().split(" ", 3)
        self._server.command("HSET", self.table, field, f"{node} {token} {int(seen) - int(by_s * 1000)} {rest}")

    @property
    def table(self) -> str:
        return f"{self._prefix}:{{nodes}}:slots"

    @property
    def numbers(self) -> list[int | None]:
        return [slots.number for slots in self.made]


@asynccontextmanager
async def fleet(server: RedisServer, prefix: str, *wishes: Wish) -> AsyncIterator[Fleet]:
    settings = quick_settings(server.url, prefix=prefix, limit_s=5.0)
    async with links(settings, len(wishes)) as made:
        found, nodes = [], {}
        for number, (link, wish) in enumerate(zip(made, wishes, strict=True)):
            name = f"node-{number}"
            nodes[name] = Nodes(link, name, NodeSettings(lease_s=60.0, renew_s=60.0), RedisClock(time.monotonic))
            found.append(ProcessSlots(link, name, wish))
        yield Fleet(server, prefix, found, nodes)


async def test_each_process_has_the_lowest_free_number_and_sees_the_others(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish()) as service:
        one, other = service.made
        other.place = HERE
        await service.join(0, 1, 0)
        assert service.numbers == [0, 1]
        assert one.live == other.live == (Slot(0, "node-0"), Slot(1, "node-1", HERE))
        other.place = msgspec.structs.replace(HERE, http_port=8081)
        await service.join(1, 0)
        assert one.live[1].place.http_port == 8081


async def test_of_many_that_come_at_once_no_two_have_one_number(redis_server: RedisServer, redis_prefix: str) -> None:
    wishes = [Wish(number=3 if number % 2 else None) for number in range(20)]
    async with fleet(redis_server, redis_prefix, *wishes) as service:
        async with asyncio.TaskGroup() as group:
            for slots in service.made:
                group.create_task(slots.sync())
        assert sorted(number for number in service.numbers if number is not None) == list(range(20))


async def test_a_number_that_it_must_have_is_waited_for_until_its_process_is_gone(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with fleet(redis_server, redis_prefix, Wish(7, is_fixed=True), Wish(7, is_fixed=True)) as service:
        await service.join(0, 1)
        assert service.numbers == [7, None]
        assert service.made[1].live == (Slot(7, "node-0"),)
        service.die(0)
        await service.join(1)
        assert service.made[1].number == 7


async def test_the_token_of_the_one_before_gives_its_number_at_once(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with fleet(redis_server, redis_prefix, Wish(4, token="a"), Wish(4, token="a"), Wish(4)) as service:
        told: list[tuple[int | None, str]] = []
        service.made[0].on_number.append(lambda number, token: told.append((number, token)))
        await service.join(0, 1)
        assert service.made[1].number == 4
        assert service.made[1].live == (Slot(4, "node-1"),)
        await service.join(2, 0)  # the one before was alive after all: its folder is a copy
        assert service.numbers == [1, 4, 0]
        assert [number for number, _ in told] == [4, 1]
        assert told[1][1] not in ("", "a")
        await service.join(1)
        assert service.made[1].number == 4


async def test_the_number_of_a_dead_process_is_kept_for_it_for_a_while(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    wishes = (Wish(token="a"), Wish(), Wish(0, token="a"), Wish(0))
    async with fleet(redis_server, redis_prefix, *wishes) as service:
        await service.join(0)
        service.die(0)
        await service.join(1, 3)
        assert service.numbers == [0, 1, None, 2]
        await service.join(2)
        assert service.made[2].number == 0


async def test_a_number_is_free_when_its_process_has_been_gone_for_long(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish()) as service:
        await service.join(0)
        service.age(0, SETTINGS.keep_s + SETTINGS.lease_s + 1.0)
        await service.join(1)
        assert service.made[1].number == 1, "its node lives, whenever it was seen"
        service.die(0)
        await service.join(1)
        assert redis_server.command("HKEYS", service.table) == [b"1"]


async def test_who_is_dead_is_not_there_until_it_is_back(redis_server: RedisServer, redis_prefix: str) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish()) as service:
        await service.join(0, 1, 0)
        service.die(1)
        await service.join(0)
        assert service.made[0].live == (Slot(0, "node-0"),)
        await service.join(1, 0)
        assert service.made[0].live == (Slot(0, "node-0"), Slot(1, "node-1"))


async def test_while_all_may_come_back_nobody_is_dead(redis_server: RedisServer, redis_prefix: str) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish(1, is_fixed=True), Wish(1, is_fixed=True)) as service:
        await service.join(0, 1)
        service.die(1)
        redis_server.command("SET", f"{redis_prefix}:{{nodes}}:amnesty", "", "PX", 60_000)
        await service.join(0, 2)
        assert service.made[0].live == (Slot(0, "node-0"), Slot(1, "node-1"))
        assert service.made[2].number is None


async def test_who_drains_is_told_to_the_others(redis_server: RedisServer, redis_prefix: str) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish()) as service:
        told: list[str] = []
        await service.join(0, 1)
        service.made[1].on_change.append(lambda: told.append("look"))
        await service.made[1].drain()
        await service.join(0)
        assert told == ["look"]
        assert service.made[0].live == (Slot(0, "node-0"), Slot(1, "node-1", is_draining=True))
        assert service.made[1].live == service.made[0].live


async def test_an_emptied_redis_learns_the_numbers_again(redis_server: RedisServer, redis_prefix: str) -> None:
    async with fleet(redis_server, redis_prefix, Wish(5), Wish(2)) as service:
        await service.join(0, 1)
        redis_server.command("DEL", service.table)
        await service.join(1, 0)
        assert service.numbers == [5, 2]


async def test_what_is_no_entry_harms_nobody(redis_server: RedisServer, redis_prefix: str) -> None:
    async with fleet(redis_server, redis_prefix, Wish()) as service:
        redis_server.command("HSET", service.table, "0", "nonsense")
        await service.join(0)
        assert redis_server.command("HLEN", service.table) == 1


async def test_without_redis_the_last_that_was_known_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisServer(tmp_path_factory.mktemp("own")) as server:
        async with fleet(server, "p", Wish(), Wish()) as service:
            await service.join(0, 1, 0)
            before = service.made[0].live
            server.kill()
            with pytest.raises(RedisUnavailableError):
                await service.made[0].sync()
            await service.made[0].drain()
            assert [slot.number for slot in service.made[0].live] == [0, 1]
            assert service.made[0].live[1] == before[1]


async def test_it_settles_looks_when_woken_and_asks_again_when_redis_is_back(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    settings = patient_settings(redis_server.url, prefix=redis_prefix)
    async with running_link(settings) as link:
        slots = ProcessSlots(link, "node-a", Wish(), msgspec.structs.replace(SETTINGS, sync_s=60.0))
        link.is_away = True
        async with running(slots.run()):
            await asyncio.sleep(0)
            assert slots.number is None
            link.is_away = False
            assert await slots.settle()
            redis_server.command("DEL", f"{redis_prefix}:{{nodes}}:slots")
            slots.wake()
            await until(lambda: redis_server.command("HLEN", f"{redis_prefix}:{{nodes}}:slots") == 1)


async def test_many_that_wake_it_at_once_cost_one_look(redis_server: RedisServer, redis_prefix: str) -> None:
    class Counted(ProcessSlots):
        looks = 0

        async def sync(self) -> float:
            self.looks += 1
            return await super().sync()

    async with running_link(patient_settings(redis_server.url, prefix=redis_prefix)) as link:
        slots = Counted(link, "node-a", settings=SlotSettings(sync_s=600.0, pause_s=300.0))
        async with running(slots.run()):
            assert await slots.settle()
            for _ in range(5):
                slots.wake()
                await link.command("PING")
        assert slots.looks == 1


async def test_it_does_not_settle_on_a_number_of_another(redis_server: RedisServer, redis_prefix: str) -> None:
    settings: RedisSettings = patient_settings(redis_server.url, prefix=redis_prefix)
    has_settled = True
    async with fleet(redis_server, redis_prefix, Wish(1)) as service, running_link(settings) as link:
        await service.join(0)
        for lease_s in (0.05, 5.0):  # where the machine stalls, Redis does not answer so soon, and nobody knows
            slots = ProcessSlots(link, "node-b", Wish(1, is_fixed=True), SlotSettings(sync_s=0.01, lease_s=lease_s))
            async with running(slots.run()):
                has_settled = await slots.settle()
            if not has_settled:
                break
    assert not has_settled


async def test_it_goes_without_a_number_while_redis_is_away(redis_server: RedisServer, redis_prefix: str) -> None:
    settings: RedisSettings = patient_settings(redis_server.url, prefix=redis_prefix)
    async with running_link(settings) as link:
        link.is_away = True
        slots = ProcessSlots(link, "node-a", Wish(1, is_fixed=True), SlotSettings(sync_s=0.01, lease_s=0.02))
        async with running(slots.run()):
            assert await slots.settle()
            assert slots.number is None
            link.is_away = False
            slots.wake()
            await until(lambda: slots.number == 1)


async def test_one_waits_no_longer_than_the_lease_of_another(redis_server: RedisServer, redis_prefix: str) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish()) as service:
        await service.join(0, 1)
        assert await service.made[0].sync() == SETTINGS.sync_s
        service.die(1, ago_s=-0.3)
        assert 0.0 < await service.made[0].sync() <= 0.31


async def test_a_table_that_somebody_spoiled_ends_nothing(
    redis_server: RedisServer, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with fleet(redis_server, redis_prefix, Wish(), Wish()) as service:
        await service.join(0)
        redis_server.command("HSET", service.table, "7", "node-7 token 99999999999999 live {no place")
        await service.join(1)
        assert [slot.number for slot in service.made[1].live] == [0, 1]
        redis_server.command("SET", service.table, "spoiled")
        async with running(*(slots.run() for slots in service.made)) as tasks:
            await until(lambda: len(caplog.records) == 2)
            redis_server.command("DEL", service.table)
            await until(lambda: len(service.made[0].live) == 2)
            await service.made[0].drain()
            assert not any(task.done() for task in tasks)

    assert {record.message for record in caplog.records} == {"redis refuses what slots need"}
