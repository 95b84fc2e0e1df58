"""Redis is killed, emptied and frozen under connected clients."""

import asyncio
import contextlib
import itertools
import time
import urllib.error
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, Line, Party, RefusedError, talking
from tests.faults.rig import (
    all_settled,
    channel,
    goes,
    nodes,
    noticed,
    refusal,
    slots,
    until,
    until_asked,
    until_in,
    until_ready,
    until_red,
)
from tests.measured import Row
from tests.nodes import Node, Service
from tests.redis_server import RedisServer

RENEW_S = 5.5  # of a connection's lease, and some
pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_redis_is_killed_and_restarted_with_its_file(tmp_path: Path, row: Row) -> None:
    # With `everysec` Redis writes nothing while a sync of its disk is under way, and acknowledges all the same.
    with RedisServer(tmp_path / "redis", appendonly=True, options=("--appendfsync", "always")) as redis:
        async with nodes(tmp_path, redis.url) as service, channel(service, "door", "v1", "v2", "new") as door:
            a, b = service.nodes
            await until_in(door.master, a)
            await until_in(door.viewers["v1"], a)
            await until_in(door.viewers["v2"], b)
            async with talking(door, every_s=0.1):
                await asyncio.sleep(0.5)
                names = [f"made-{number}" for number in range(30)]
                made = await asyncio.gather(*(asyncio.to_thread(is_made, service, name) for name in names))
                acknowledged = {name for name, is_so in zip(names, made, strict=True) if is_so}
                assert acknowledged
                redis.kill()
                killed_at = time.monotonic()
                refused = await refusal(door.viewers["new"], b, 503)
                before = await asyncio.gather(*(asyncio.to_thread(renewed, node) for node in service.nodes))
                await asyncio.sleep(1.0)
                redis.start()
                back_at = time.monotonic()
                await until_in(door.viewers["new"], b)
                admitted_s = time.monotonic() - back_at
                await goes(door, door.viewers["v2"], "")
                delivered_s = time.monotonic() - back_at
                await until(lambda: set(slots(redis, door)) == {"fence", "master", *map(viewer, door.viewers)})
                await until_asked(lambda: renewed(a) >= before[0] + 2 and renewed(b) >= before[1] + 1)
                leases_s = time.monotonic() - back_at
                listed = await asyncio.to_thread(service.call, 0, "/listSignalingChannels", {"MaxResults": 1000})
                await asyncio.sleep(0.5)
            await all_settled(door)
            assert len(door.open_masters()) == 1

    door.check()
    lost = {*acknowledged, "door"} - {each["ChannelName"] for each in listed["ChannelInfoList"]}
    assert not lost
    row("channels lost that were acknowledged", len(lost), "channels", goal=0)
    row("new client refused", refused.took_s, goal=2.0)
    row("new client in, after the restart", admitted_s, goal=6.0)
    row("message to the other node, after the restart", delivered_s, goal=6.0)
    row("all leases renewed, after the restart", leases_s, goal=6.0)
    row("error to who spoke meanwhile", max(door.answers_s(), default=0.0), goal=2.0)
    row("slowest message on one node", max(door.local_s(killed_at)))
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)


async def test_redis_is_killed_and_comes_back_empty(tmp_path: Path, row: Row) -> None:
    """The presence alone: the catalog is in another Redis, which lasts."""
    names = [f"v{number}" for number in range(10)]
    strangers = [f"s{number}" for number in range(4)]
    with RedisServer(tmp_path / "catalog", appendonly=True) as catalog, RedisServer(tmp_path / "presence") as presence:
        async with (
            nodes(tmp_path, catalog.url, "--presence-url", presence.url) as service,
            channel(service, "door", *names, *strangers) as door,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            for number, name in enumerate(names):
                await until_in(door.viewers[name], service.nodes[number % 2])
            fences = slots(presence, door)
            assert len(fences) == 12
            crowd: list[tuple[float, int]] = []
            async with talking(door, every_s=0.5):
                await asyncio.sleep(0.5)
                presence.restart(empty=True)
                back_at = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(keep_trying(door.viewers[name], *service.nodes)) for name in strangers]
                    leases_s = await until(lambda: in_place(slots(presence, door), fences))
                    await until(lambda: in_bounds(door, crowd), every_s=0.05)
                    for task in tasks:
                        task.cancel()
                excess_s = max((at for at, count in crowd if count > 10), default=back_at) - back_at
                newest = await until_in(door.master, b)
                await until(lambda: len(door.open_masters()) == 1)
                await asyncio.sleep(0.5)
            assert len(door.open_viewers()) == 10
            assert door.open_masters() == [newest]
            assert slots(presence, door)["fence"] > max(fences.values())
            # Who had to go for somebody newer may leave mail behind, for itself; who stayed need not come back for any.
            for gone in [party for party in door.viewers.values() if party.lines and not party.is_in]:
                await drop(door.open_viewers()[0])
                await until_in(gone, a)
            back_at = time.monotonic()
            await all_settled(door)
            settled_s = time.monotonic() - back_at

    door.check()
    row("leases in place again", leases_s, goal=6.0)
    row("most viewers at a time", max(count for _, count in crowd), "viewers", goal=20)
    row("ten viewers at most again", excess_s, goal=5.0)
    row("all settled, after who had to go is back", settled_s, goal=2.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)


async def test_redis_is_frozen_for_ten_seconds(tmp_path: Path, row: Row) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url) as service,
            channel(service, "door", "v1", "v2", "new") as door,
            channel(service, "yard", "w1") as yard,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            await until_in(door.viewers["v1"], a)
            await until_in(door.viewers["v2"], b)
            await until_in(yard.master, b)
            await until_in(yard.viewers["w1"], b)
            async with talking(door, yard, every_s=0.2):
                redis.stop()
                await asyncio.sleep(0.7)  # what is sent again meanwhile comes twice to the other node
                redis.cont()
                await asyncio.sleep(0.5)
                redis.stop()
                stopped_at = time.monotonic()
                refused = await refusal(door.viewers["new"], b, 503)
                noticed_s = await noticed(a, stopped_at)
                refused_later = await refusal(door.viewers["new"], b, 503)
                await until_red(a, "redis")
                red_s = time.monotonic() - stopped_at
                assert await asyncio.to_thread(a.is_live)
                await asyncio.sleep(max(0.0, stopped_at + 10.0 - time.monotonic()))
                redis.cont()
                cont_at = time.monotonic()
                await goes(door, door.viewers["v2"], "")
                delivered_s = time.monotonic() - cont_at
                await until_in(door.viewers["new"], b)
                admitted_s = time.monotonic() - cont_at
                await until_ready(a, b)
                green_s = time.monotonic() - cont_at
                await asyncio.sleep(1.0)
            await all_settled(door, yard)
            assert len(door.open_masters()) == len(yard.open_masters()) == 1
            local_s = max(door.local_s(stopped_at) + yard.local_s(stopped_at))

    door.check()
    yard.check()
    assert not [number for number in yard.said if not yard.arrivals(number)], "on one node nothing may fail"
    row("freeze noticed", noticed_s, goal=3.0)
    row("new client refused, before that", refused.took_s, goal=2.0)
    row("new client refused, after that", refused_later.took_s, goal=2.0)
    row("readiness red", red_s)
    row("slowest message on one node", local_s)
    row("error to who spoke to the other node", max(door.answers_s(), default=0.0), goal=2.0)
    row("message to the other node, after the end", delivered_s, goal=6.0)
    row("new client in, after the end", admitted_s, goal=6.0)
    row("readiness green, after the end", green_s, goal=6.0)
    row("unaccounted", len(door.unaccounted() + yard.unaccounted()), "messages", goal=0)


def is_made(service: Service, name: str) -> bool:
    """Whether node 1 acknowledges a new channel; a Redis that is busy with its disk may not answer in time."""
    try:
        service.create(name, 1, tries=1)
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return False
    return True


def viewer(name: str) -> str:
    return f"viewer:{name}"


def renewed(node: Node) -> float:
    return node.metric('heliograph_presence_total{result="renewed"}')


def in_place(found: dict[str, int], wanted: dict[str, int]) -> bool:
    """Whether every slot is taken again, by whom it was or by somebody newer."""
    return len(found) == len(wanted) and found.get("master") == wanted["master"]


def in_bounds(ledger: Ledger, crowd: list[tuple[float, int]]) -> bool:
    """Whether ten viewers at most are in, and have been for longer than leases go unrenewed."""
    now = time.monotonic()
    crowd.append((now, len(ledger.open_viewers())))
    return all(count <= 10 for at, count in crowd if at > now - RENEW_S) and crowd[0][0] < now - RENEW_S


async def keep_trying(party: Party, *nodes: Node) -> None:
    """A client that comes for the first time, and again whenever it is refused or has to go."""
    for node in itertools.cycle(nodes):
        with contextlib.suppress(RefusedError):
            await (await party.connect(node)).ended.wait()
        await asyncio.sleep(0.1)


async def drop(line: Line) -> None:
    await line.socket.close()
    await line.ended.wait()
