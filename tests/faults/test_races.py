"""Many at once, at both nodes, and a Redis that forgets scripts and throws out clients: nothing fails of it."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.ledger import ANSWER_S, Line, Party, RefusedError, talking
from tests.faults.rig import all_settled, channel, goes, nodes, slots, until
from tests.measured import Row
from tests.nodes import Node
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(90)]


async def attempt(party: Party, node: Node) -> Line | RefusedError:
    try:
        return await party.connect(node)
    except RefusedError as error:
        return error


async def attempts(parties: list[Party], at: tuple[Node, ...]) -> list[Line | RefusedError]:
    """All of them at once, each at one of the nodes."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(party, at[n % len(at)])) for n, party in enumerate(parties)]
    return [task.result() for task in tasks]


async def test_eleven_and_sixty_viewers_race_over_two_nodes(tmp_path: Path, row: Row) -> None:
    names = [f"v{number}" for number in range(60)]
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with nodes(tmp_path, redis.url) as service:
            took_s: list[float] = []
            for count in (11, 11, 60):
                async with channel(service, f"door-{len(took_s)}", *names[:count]) as door:
                    await door.master.connect(service.nodes[0])
                    found = await attempts(list(door.viewers.values()), tuple(service.nodes))
                    let_in = [each for each in found if isinstance(each, Line)]
                    refused = [each for each in found if isinstance(each, RefusedError)]
                    assert len(let_in) == len(door.open_viewers()) == 10, f"of {count}"
                    assert {each.status for each in refused} == {400}
                    assert len(slots(redis, door)) == 12
                    await door.talk()
                    await all_settled(door)
                    assert door.delivered == 20
                    door.check()
                    took_s += [each.took_s for each in found]
    row("viewers in", 10, "viewers", goal=10)
    row("slowest answer to one of them", max(took_s))


async def test_twenty_masters_race_over_two_nodes(tmp_path: Path, row: Row) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, "--limits-profile", "relaxed") as service,
            channel(service, "door", "v1", "v2") as door,
        ):
            for node, viewer in zip(service.nodes, door.viewers.values(), strict=True):
                await viewer.connect(node)
            began_at = time.monotonic()
            found = await attempts([door.master] * 20, tuple(service.nodes))
            lines = [each for each in found if isinstance(each, Line)]
            assert len(lines) == 20
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
            await door.master.connect(a)
            for viewer in door.viewers.values():
                await viewer.connect(b)
            admissions: list[float] = []
            async with talking(door, every_s=0.06):
                await asyncio.sleep(0.3)
                for turn in range(10):
                    if turn in (0, 9):  # more often would be a flapping server, which is met with longer pauses
                        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
                    redis.command("SCRIPT", "FLUSH")
                    for number, viewer in enumerate(yard.viewers.values()):
                        line = await viewer.connect(service.nodes[number % 2])
                        admissions.append(line.took_s)
                        line.socket.transport.abort()
                    await asyncio.sleep(0.35)
                redis.command("CLIENT", "KILL", "TYPE", "normal")
                await asyncio.sleep(0.5)
            await all_settled(door)
            assert await asyncio.to_thread(a.metric, 'heliograph_redis_link_total{event="reconnects"}') >= 2
            assert len(door.master.lines) == len(door.open_masters()) == 1

    door.check()
    assert door.delivered > len(door.said) * 0.9
    row("admissions that failed", 10 * 10 - len(admissions), "admissions", goal=0)
    row("slowest admission", max(admissions))
    row("messages sent", len(door.said), "messages")
    row("of which answered with an error", len(door.answers_s()), "messages")
    row("slowest error to a sender", max(door.answers_s(), default=0.0), goal=2.0)
    row("unaccounted", len(door.unaccounted()), "messages", goal=0)
    assert max(door.answers_s(), default=0.0) < 2 * ANSWER_S
