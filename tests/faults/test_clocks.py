"""Nodes whose clocks differ: all times that they share are those of Redis."""

import asyncio
import email.utils
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.faults.ledger import staying, talking
from tests.faults.rig import all_settled, channel, goes, nodes, refusal, slots, until, until_in
from tests.measured import Row
from tests.nodes import LIMIT_S, Node
from tests.programs import require
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]
SOURCE = Path(__file__).parent / "_clock_ahead.c"
AHEAD_S = (-25, 25)  # tokens allow 30 s


def shim(folder: Path) -> Path:
    """What moves the clock of a process that is started with it, made here."""
    library = folder / "clock_ahead.so"
    subprocess.run([require("cc"), "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def time_of(node: Node) -> float:
    """What time it is for a node, to a second."""
    try:
        with urllib.request.urlopen(f"{node.http}/nothing", timeout=LIMIT_S) as answer:
            date = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        date = error.headers["Date"]
    return email.utils.parsedate_to_datetime(date).timestamp()


async def test_clocks_are_fifty_seconds_apart(tmp_path: Path, row: Row) -> None:
    """Longer than any lease, so that one read off a node's own clock would be over at once, or not in time."""
    library = await asyncio.to_thread(shim, tmp_path)
    within = [("env", f"LD_PRELOAD={library}", f"CLOCK_AHEAD_S={ahead_s}") for ahead_s in AHEAD_S]
    names = [f"v{number}" for number in range(10)]
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, within=within) as service,
            channel(service, "door", *names, "late") as door,
        ):
            a, b = service.nodes
            times = [await asyncio.to_thread(time_of, node) for node in service.nodes]
            assert [at - time.time() for at in times] == pytest.approx(AHEAD_S, abs=10.0)
            for number, name in enumerate(names):
                await until_in(door.viewers[name], service.nodes[number % 2])
            fences = []
            async with talking(door, every_s=0.3):
                for node in (a, b, a, b, a):
                    newest = await until_in(door.master, node)
                    fences.append(slots(redis, door)["master"])
                    await until(lambda: door.open_masters() == [newest])  # noqa: B023  # waited for right here
                await refusal(door.viewers["late"], b, 400)
                await goes(door, door.viewers["v1"], "")
                await asyncio.sleep(5.5)  # all leases are renewed once
                assert len(slots(redis, door)) == 12
                comers = [door.viewers[name] for name in names[:8:2]]
                async with staying(*comers, nodes=(a, b)):
                    a.kill()
                    killed_at = time.monotonic()
                    await until_in(door.viewers["late"], b)
                    free_s = time.monotonic() - killed_at
                    await until(lambda: all(comer.is_in for comer in comers))
                took_over = await until_in(door.master, b)
                await asyncio.sleep(0.5)
            await door.viewers["late"].line.socket.close()
            await until_in(door.viewers["v8"], b)
            await all_settled(door)
            assert len(door.open_masters()) == 1
            assert len(door.open_viewers()) == 10

    door.check()
    assert fences == sorted(set(fences)), "the newest has the highest fence, whatever the clock of its node"
    row("clocks apart", AHEAD_S[1] - AHEAD_S[0])
    row("slot of a killed node free for somebody else", free_s, goal=3.0)
    row("master in at the other node", took_over.took_s, goal=1.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)
