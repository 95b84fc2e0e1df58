"""A node is killed: its clients go on elsewhere, its slots are free, what was said to them is accounted for."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.ledger import staying, talking
from tests.faults.rig import OUTLASTING, SETTLED_S, all_settled, channel, nodes, refusal, until, until_in
from tests.measured import Row
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_a_node_is_killed(tmp_path: Path, row: Row) -> None:
    names = [f"v{number}" for number in range(10)]
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, *OUTLASTING) as service,
            channel(service, "door", *names, "late") as door,
            channel(service, "yard", "w1", "w2") as yard,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            for number, name in enumerate(names):
                await until_in(door.viewers[name], a if number < 6 else b)
            await until_in(yard.master, b)
            await until_in(yard.viewers["w1"], a)
            await until_in(yard.viewers["w2"], b)
            late = door.viewers["late"]
            await refusal(late, b, 400)
            comers = [*(door.viewers[name] for name in names[:5]), yard.viewers["w1"]]
            async with talking(door, yard, every_s=0.5), staying(*comers, nodes=(a, b)):
                await asyncio.sleep(1.0)
                await all_settled(door, yard)  # what a node has not read when it is killed is not accepted
                a.stop()  # so that what is said now is with it, in doubt
                doubtful = [await door.viewers[name].say() for name in names[6:]]
                await asyncio.sleep(0.05)
                a.kill()
                killed_at = time.monotonic()
                await until(lambda: all(map(door.is_settled, doubtful)), SETTLED_S)
                answers = [answer[0] - killed_at for number in doubtful if (answer := door.answer(number))]
                await until_in(late, b)
                free_s = time.monotonic() - killed_at
                await until(lambda: all(comer.is_in for comer in comers))
                took_over = await until_in(door.master, b)
                await asyncio.sleep(1.0)
            assert len(door.open_viewers()) == 10
            await late.line.socket.close()
            await until_in(door.viewers["v5"], b)  # for whom much is held
            await all_settled(door, yard)
            assert len(door.open_masters()) == len(yard.open_masters()) == 1

    door.check()
    yard.check()
    returned_s = max(took_s for comer in comers for took_s in comer.returned_s)
    row("clients that come back are in", returned_s, goal=3.0)
    row("slot free for somebody else", free_s, goal=3.0)
    row("master in at the other node", took_over.took_s, goal=1.0)
    row("error to who spoke to the dead", max(answers, default=0.0), goal=1.5)
    row("unaccounted", len(door.unaccounted() + yard.unaccounted()), "messages", goal=0)
