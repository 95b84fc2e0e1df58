"""A node that stands still."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, talking
from tests.faults.rig import OUTLASTING, SETTLED_S, all_settled, channel, goes, nodes, until, until_asked, until_in
from tests.measured import Row
from tests.nodes import Node
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_a_node_stands_still_for_five_seconds(tmp_path: Path, row: Row) -> None:
    """It counts as dead meanwhile: its slots go to others, and what it still says of them is void."""
    names = [f"v{number}" for number in range(10)]
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, *OUTLASTING) as service,
            channel(service, "door", *names, "late") as door,
            channel(service, "yard", "w1") as yard,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            for number, name in enumerate(names):
                await until_in(door.viewers[name], a if number < 3 else b)
            await until_in(yard.master, b)
            await until_in(yard.viewers["w1"], a)
            async with talking(door, yard, every_s=0.5):
                await asyncio.sleep(0.5)
                await all_settled(door, yard)  # what a node has not read when it stops is not accepted
                older = door.master.line
                a.stop()
                stopped_at = time.monotonic()
                newer = await until_in(door.master, b)
                await until_in(door.viewers["late"], b)
                free_s = time.monotonic() - stopped_at
                await asyncio.sleep(max(0.0, stopped_at + 5.0 - time.monotonic()))
                a.cont()
                cont_at = time.monotonic()
                await older.ended.wait()
                alone_s = time.monotonic() - cont_at
                await until(lambda: len(door.open_viewers()) == 10)
                tenth_s = time.monotonic() - cont_at
                await goes(yard, yard.master, "w1")
                delivered_s = time.monotonic() - cont_at
                await asyncio.sleep(1.0)
            assert door.open_masters() == [newer]
            (gone,) = [name for name in names if not door.viewers[name].is_in]
            await door.viewers["late"].line.socket.close()
            await until_in(door.viewers[gone], b)
            await all_settled(door, yard)
            told_s = max(door.answers_s(b) + yard.answers_s(b), default=0.0)

    door.check()
    yard.check()
    row("master in at the other node", newer.took_s, goal=1.0)
    row("slot free for somebody else", free_s, goal=3.0)
    row("error to who spoke to it", told_s, goal=2.0)
    row("one master alone, after the end", alone_s, goal=6.0)
    row("ten viewers at most again, after the end", tenth_s, goal=6.0)
    row("message to it, after the end", delivered_s, goal=6.0)
    row("unaccounted", len(door.unaccounted() + yard.unaccounted()), "messages", goal=0)


async def test_masters_of_a_node_that_stood_still_are_given_what_was_held_for_them(tmp_path: Path, row: Row) -> None:
    """They are connected all the time, so that nothing but their node can look for it."""
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url) as service,
            channel(service, "door", "v1") as door,
            channel(service, "yard", "w1") as yard,
        ):
            a, b = service.nodes
            for ledger in (door, yard):
                await until_in(ledger.master, a)
                await until_in(*ledger.viewers.values(), b)
                await goes(ledger, *ledger.viewers.values(), "")
            a.stop()
            held = [(ledger, await held_at(ledger, b)) for ledger in (door, yard)]
            a.cont()
            cont_at = time.monotonic()
            async with talking(door, every_s=0.05):  # who is spoken to gets what is older first, who is not gets it too
                await until(lambda: all(ledger.is_settled(number) for ledger, number in held), SETTLED_S)
            given_s = [at - cont_at for ledger, number in held for at in ledger.arrivals(number)]
            assert len(given_s) == len(held), "it was held until its time was over"
            assert [len(ledger.master.lines) for ledger in (door, yard)] == [1, 1]
            await all_settled(door, yard)

    door.check()
    yard.check()
    row("what was held is given, after the end", max(given_s), goal=6.0)
    row("unaccounted", len(door.unaccounted() + yard.unaccounted()), "messages", goal=0)


async def held_at(ledger: Ledger, node: Node) -> str:
    """The first message of the viewer to its master that this node, where the viewer is, has held."""
    (viewer,) = ledger.viewers.values()

    def held() -> float:
        return node.metric('heliograph_signaling_messages_total{action="ICE_CANDIDATE",result="held",role="viewer"}')

    while True:
        before = await asyncio.to_thread(held)
        number = await viewer.say()
        await until_asked(lambda: ledger.is_settled(number) or held() > before)  # noqa: B023  # waited for right here
        if not ledger.is_settled(number):
            return number
