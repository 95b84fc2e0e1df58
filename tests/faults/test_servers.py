"""The Redis of the nodes is several servers: one falls over to another, one of two is away."""

import asyncio
import time
import urllib.error
from pathlib import Path

import pytest

from tests.faults.ledger import RefusedError, talking
from tests.faults.rig import all_settled, channel, goes, nodes, refusal, slots, until, until_in, until_ready, until_red
from tests.measured import Row
from tests.redis_server import FAILOVER_LIMIT_S, RedisServer, sentinel_group

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_sentinels_make_another_server_the_primary(tmp_path: Path, row: Row) -> None:
    with sentinel_group(tmp_path / "redis") as servers:
        async with (
            nodes(tmp_path, servers.url, "--redis-allow-unsafe") as service,
            channel(service, "door", "v1", "v2", "new") as door,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            await until_in(door.viewers["v1"], a)
            await until_in(door.viewers["v2"], b)
            async with talking(door, every_s=0.1):
                await until(lambda: len(slots(servers.replica, door)) == 4)  # it has what the primary has
                await asyncio.sleep(0.5)
                servers.primary.kill()
                killed_at = time.monotonic()
                refused_s = 0.0
                try:
                    await door.viewers["new"].connect(b)  # in, where the other server is the primary before it asks
                except RefusedError as error:
                    if error.status != 503:
                        raise
                    refused_s = error.took_s
                    await until_in(door.viewers["new"], b, FAILOVER_LIMIT_S)
                admitted_s = time.monotonic() - killed_at
                await goes(door, door.viewers["v2"], "")
                delivered_s = time.monotonic() - killed_at
                await until(lambda: len(slots(servers.replica, door)) == 5)
                leases_s = time.monotonic() - killed_at
                await until_ready(a, b)
                await asyncio.sleep(1.0)
            await all_settled(door)
            assert len(door.master.lines) == len(door.open_masters()) == 1
            local_s = max(door.local_s(killed_at))

    door.check()
    row("new client refused meanwhile", refused_s, goal=2.0)
    row("new client in again", admitted_s, goal=4.0)
    row("messages cross again", delivered_s, goal=4.0)
    row("all leases in place", leases_s, goal=6.0)
    row("slowest message on one node", local_s)
    row("slowest error to a sender", max(door.answers_s(), default=0.0), goal=2.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)


async def test_the_catalog_is_away(tmp_path: Path, row: Row) -> None:
    """Connections and messages are in another Redis, which is there."""
    with RedisServer(tmp_path / "catalog", appendonly=True) as catalog, RedisServer(tmp_path / "presence") as presence:
        async with (
            nodes(tmp_path, catalog.url, "--presence-url", presence.url) as service,
            channel(service, "door", "v1", "v2", "new") as door,
            channel(service, "never-used", "v1") as unknown,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            await until_in(door.viewers["v1"], a)
            await until_in(door.viewers["v2"], b)
            async with talking(door, every_s=0.1):
                await asyncio.sleep(0.5)
                catalog.stop()
                stopped_at = time.monotonic()
                reddening = door.group.create_task(until_red(b, "catalog"))
                known = await until_in(door.viewers["new"], b)
                refused = await refusal(unknown.viewers["v1"], b, 503)
                with pytest.raises(urllib.error.HTTPError, match="503"):
                    await asyncio.to_thread(service.create, "meanwhile", tries=1)
                red_s = await reddening
                assert await asyncio.to_thread(b.is_live)
                await asyncio.sleep(1.0)
                catalog.cont()
                cont_at = time.monotonic()
                await until_in(unknown.viewers["v1"], b)
                admitted_s = time.monotonic() - cont_at
                await until_ready(a, b)
                green_s = time.monotonic() - cont_at
                await asyncio.to_thread(service.create, "afterwards")
            await all_settled(door)
            assert len(door.master.lines) == len(door.open_masters()) == 1
            assert not door.failed_within(1.0), "what nobody needs the catalog for goes on"
            meanwhile = [number for number, each in door.said.items() if stopped_at < each.at < cont_at]
            assert sum(bool(door.arrivals(number)) for number in meanwhile) > len(meanwhile) / 2

    door.check()
    row("client of a known channel in", known.took_s, goal=2.0)
    row("client of another refused", refused.took_s, goal=2.0)
    row("readiness red", red_s)
    row("client of another in, after the end", admitted_s, goal=6.0)
    row("readiness green, after the end", green_s, goal=6.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)
