"""Many at once, at both nodes, and a Redis that forgets scripts and throws out clients: nothing fails of it."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.ledger import Line, Party, RefusedError, talking
from tests.faults.rig import all_settled, channel, goes, nodes, slots, until, until_asked, until_in
from tests.measured import Row
from tests.nodes import Node
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]
UNANSWERED_S = 1.3  # a node waits for Redis no shorter


async def attempt(party: Party, node: Node) -> Line | RefusedError:
    try:
        return await party.connect(node)
    except RefusedError as error:
        return error


async def race(parties: list[Party], at: tuple[Node, ...]) -> tuple[list[Line], list[RefusedError]]:
    """Who is let in and who is refused, all at once, each at one of the nodes. While Redis does not answer in time one
    of them, it may hold a place that nobody has: all who are outside try again.
    """
    let_in: list[Line] = []
    while True:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(attempt(party, at[n % len(at)])) for n, party in enumerate(parties)]
        found = [task.result() for task in tasks]
        let_in += [each for each in found if isinstance(each, Line)]
        refused = [each for each in found if isinstance(each, RefusedError)]
        if all(each.status != 503 for each in refused):
            return let_in, refused
        parties = [party for party, each in zip(parties, found, strict=True) if isinstance(each, RefusedError)]


async def admitted(party: Party, node: Node) -> tuple[Line, int]:
    """Its connection, and how often it was refused before: which may only be because Redis had no time to answer."""
    refusals = 0
    while True:
        try:
            return await party.connect(node), refusals
        except RefusedError as error:
            if error.status != 503 or error.took_s < UNANSWERED_S:
                raise
            refusals += 1


async def test_eleven_and_sixty_viewers_race_over_two_nodes(tmp_path: Path, row: Row) -> None:
    names = [f"v{number}" for number in range(60)]
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with nodes(tmp_path, redis.url) as service:
            took_s: list[float] = []
            for count in (11, 11, 60):
                async with channel(service, f"door-{len(took_s)}", *names[:count]) as door:
                    await until_in(door.master, service.nodes[0])
                    let_in, refused = await race(list(door.viewers.values()), tuple(service.nodes))
                    assert len(let_in) == len(door.open_viewers()) == 10, f"of {count}"
                    assert {each.status for each in refused} == {400}
                    await until(lambda: len(slots(redis, door)) == 12)
                    await door.talk()
                    await all_settled(door)
                    assert door.delivered == 20
                    door.check()
                    took_s += [each.took_s for each in (*let_in, *refused)]
    row("viewers in", 10, "viewers", goal=10)
    row("slowest answer to one of them", max(took_s))


async def test_twenty_masters_race_over_two_nodes(tmp_path: Path, row: Row) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, "--limits-profile", "relaxed") as service,
            channel(service, "door", "v1", "v2") as door,
        ):
            for node, viewer in zip(service.nodes, door.viewers.values(), strict=True):
                await until_in(viewer, node)
            began_at = time.monotonic()
            lines, refused = await race([door.master] * 20, tuple(service.nodes))
            assert (len(lines), refused) == (20, [])
            await until(lambda: len(door.open_masters()) == 1)
            alone_s = time.monotonic() - began_at
            (last,) = door.open_masters()
            ended = [line for line in lines if line is not last]
            assert {line.end for line in ended} <= {
                (1000, "replaced by a newer master"),
                (1001, "another connection has taken the slot: connect again"),
            }
            door.master.lines.sort(key=lambda line: line is last)  # who is in, not who was answered last
            for viewer in door.viewers.values():
                await goes(door, viewer, "")
                await goes(door, door.master, viewer.client_id)
            await all_settled(door)
            assert door.open_masters() == [last]

    door.check()
    row("one master alone", alone_s, goal=1.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)


async def test_redis_throws_out_subscribers_and_forgets_scripts(tmp_path: Path, row: Row) -> None:
    """A hundred messages a second cross, and clients come and go: no admission may fail."""
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, "--limits-profile", "relaxed") as service,
            channel(service, "door", "v1", "v2", "v3") as door,
            channel(service, "yard", *(f"w{number}" for number in range(10))) as yard,
        ):
            a, b = service.nodes
            await until_in(door.master, a)
            for viewer in door.viewers.values():
                await until_in(viewer, b)
            admissions: list[float] = []
            failed = 0
            async with talking(door, every_s=0.06):
                await asyncio.sleep(0.3)
                for turn in range(10):
                    if turn == 9:
                        await until_asked(lambda: reconnects(a) >= 1)
                    if turn in (0, 9):  # more often would be a flapping server, which is met with longer pauses
                        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
                    redis.command("SCRIPT", "FLUSH")
                    for number, viewer in enumerate(yard.viewers.values()):
                        line, refusals = await admitted(viewer, service.nodes[number % 2])
                        admissions.append(line.took_s)
                        failed += refusals
                        line.socket.transport.abort()
                    await asyncio.sleep(0.35)
                redis.command("CLIENT", "KILL", "TYPE", "normal")
                await asyncio.sleep(0.5)
            await all_settled(door)
            await until_asked(lambda: reconnects(a) >= 2)
            assert len(door.master.lines) == len(door.open_masters()) == 1

    door.check()
    assert door.delivered > len(door.said) / 2
    row("admissions that failed", failed, "admissions", goal=0)
    row("slowest admission", max(admissions))
    row("messages sent", len(door.said), "messages")
    row("of which answered with an error", len(door.answers_s()), "messages")
    row("slowest error to a sender", max(door.answers_s(), default=0.0), goal=2.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)


def reconnects(node: Node) -> float:
    return node.metric('heliograph_redis_link_total{event="reconnects"}')
