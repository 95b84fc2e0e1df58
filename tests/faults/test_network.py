"""The network between a node and Redis breaks, for one node and not for the other, or becomes narrow."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fault_proxy import FaultProxy, fault_proxy
from tests.faults.ledger import talking
from tests.faults.rig import all_settled, channel, goes, nodes, noticed, refusal, until_asked, until_in
from tests.measured import Row
from tests.nodes import Service
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]


@contextlib.asynccontextmanager
async def behind_proxies(folder: Path) -> AsyncIterator[tuple[Service, list[FaultProxy]]]:
    """Two nodes, each with a way of its own to the Redis of both."""
    with RedisServer(folder / "redis", appendonly=True) as redis:
        async with (
            fault_proxy(redis.host, redis.port) as first,
            fault_proxy(redis.host, redis.port) as second,
        ):
            proxies = [first, second]
            own = [("--redis", f"redis://{proxy.host}:{proxy.port}") for proxy in proxies]
            async with nodes(folder, redis.url, own=own) as service:
                yield service, proxies


@pytest.mark.parametrize("cut", [0, 1], ids=["the first", "the second"])
async def test_one_node_cannot_reach_redis(tmp_path: Path, row: Row, cut: int) -> None:
    async with (
        behind_proxies(tmp_path) as (service, proxies),
        channel(service, "door", "v1", "v2", "new", "newer") as door,
        channel(service, "yard", "w1") as yard,
    ):
        node, other = service.nodes[cut], service.nodes[1 - cut]
        await until_in(door.master, other)
        await until_in(door.viewers["v1"], node)
        await until_in(door.viewers["v2"], other)
        await until_in(yard.master, node)
        await until_in(yard.viewers["w1"], node)
        async with talking(door, yard, every_s=0.2):
            await asyncio.sleep(0.5)
            proxies[cut].half_open()
            cut_at = time.monotonic()
            refused = await refusal(door.viewers["new"], node, 503)
            await until_in(door.viewers["newer"], other)
            noticed_s = await noticed(node, cut_at)
            await asyncio.sleep(1.0)
            await until_asked(lambda: other.metric("heliograph_redis_away_seconds") == 0.0)
            proxies[cut].pass_on()
            healed_at = time.monotonic()
            await goes(door, door.viewers["v1"], "")
            delivered_s = time.monotonic() - healed_at
            await until_in(door.viewers["new"], node)
            admitted_s = time.monotonic() - healed_at
            await asyncio.sleep(1.0)
        await all_settled(door, yard)
        assert len(door.open_masters()) == len(yard.open_masters()) == 1
        assert len(door.master.lines) == 1, "who stayed on a node was not disturbed"
        local_s = max(door.local_s(cut_at) + yard.local_s(cut_at))

    door.check()
    yard.check()
    assert not [number for number in yard.said if not yard.arrivals(number)], "on one node nothing may fail"
    row("noticed", noticed_s, goal=3.0)
    row("new client refused there", refused.took_s, goal=2.0)
    row("slowest message on one node", local_s)
    row("error to who spoke across", max(door.answers_s(), default=0.0), goal=2.0)
    row("message across, after the end", delivered_s, goal=6.0)
    row("new client in there, after the end", admitted_s, goal=6.0)
    row("unaccounted", len(door.unaccounted() + yard.unaccounted()), "messages", goal=0)


@pytest.mark.parametrize("cut", [0, 1], ids=["the first", "the second"])
async def test_both_nodes_claim_the_master(tmp_path: Path, row: Row, cut: int) -> None:
    async with (
        behind_proxies(tmp_path) as (service, proxies),
        channel(service, "door", "v1", "v2") as door,
    ):
        node, other = service.nodes[cut], service.nodes[1 - cut]
        older = await until_in(door.master, node)
        await until_in(door.viewers["v1"], node)
        await until_in(door.viewers["v2"], other)
        async with talking(door, every_s=0.2):
            await asyncio.sleep(0.5)
            proxies[cut].half_open()
            newer = await until_in(door.master, other)
            await asyncio.sleep(4.0)
            assert door.open_masters() == [older, newer], "neither node can know better"
            proxies[cut].pass_on()
            healed_at = time.monotonic()
            await older.ended.wait()
            alone_s = time.monotonic() - healed_at
            await goes(door, door.viewers["v1"], "")
            delivered_s = time.monotonic() - healed_at
            await asyncio.sleep(1.0)
        await all_settled(door)
        assert door.open_masters() == [newer]

    door.check()
    assert older.end[0] in (1000, 1001)
    row("master of the other node in", newer.took_s, goal=1.0)
    row("one master alone, after the end", alone_s, goal=6.0)
    row("viewer of the first speaks to the second, after the end", delivered_s, goal=6.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)


async def test_a_node_reads_ten_kilobytes_a_second(tmp_path: Path, row: Row) -> None:
    """Between the nodes go 25 kB/s: much is late, and its senders are told; nothing breaks."""
    async with (
        behind_proxies(tmp_path) as (service, (narrow, _)),
        channel(service, "door", "v1", "v2", "new") as door,
    ):
        a, b = service.nodes
        await until_in(door.master, a)
        await until_in(door.viewers["v1"], a)
        await until_in(door.viewers["v2"], b)
        async with talking(door, every_s=0.05, size=1200):
            narrow.bandwidth(10_000)
            began_at = time.monotonic()
            await asyncio.sleep(2.0)
            asked_at = time.monotonic()
            await until_in(door.viewers["new"], a)
            admitted_s = time.monotonic() - asked_at
            await asyncio.sleep(3.0)
            narrow.pass_on()
            wide_at = time.monotonic()
            await goes(door, door.viewers["v2"], "")
            delivered_s = time.monotonic() - wide_at
            await asyncio.sleep(0.5)
        await all_settled(door)
        assert len(door.open_masters()) == 1
        local_s = max(door.local_s(began_at))
        assert len(door.open_viewers()) == 3

    door.check()
    row("new client in there", admitted_s)
    row("slowest message on one node", local_s)
    row("slowest error to a sender", max(door.answers_s(), default=0.0), goal=2.0)
    row("message across, after the end", delivered_s, goal=6.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)
