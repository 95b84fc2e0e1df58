"""A node with many connections is told to end: when each of them is closed, where they go, and what is left."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.fault_proxy import FaultProxy, fault_proxy
from tests.faults.ledger import ANSWER_S, Ledger, staying, talking
from tests.faults.rig import (
    PATIENCE_S,
    all_settled,
    channel,
    nodes,
    slot_nodes,
    until,
    until_asked,
    until_in,
    until_red,
)
from tests.measured import Row
from tests.nodes import Node, Service
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]
PER_CHANNEL = 100
AT_ONCE = 50
PARTS = 4
PING, PONG = 0x89, 0x8A  # with FIN
AFTER_CLOSES = 2  # trips to Redis: to hear no more of other nodes, then to count as dead
LAST_S = 2.0  # of a drain, in which nobody's time comes


class Idle:
    """A websocket that says nothing, at a fraction of the cost of a client library; it answers pings and its close."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.closed = asyncio.Event()  # for the first time
        self.closed_at = 0.0
        self.code = 0

    async def is_admitted(self, node: Node) -> bool:
        """Connect; whether the node lets us in."""
        place = node.http.removeprefix("http://")
        self._reader, self._writer = await asyncio.open_connection(*place.split(":"))
        head = f"GET {self.path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        self._writer.write((head + key).encode())
        status = b""
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError
        ):  # a node has limits of time for this, too
            status = (await self._reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        if status != b"101":
            assert status in (b"503", b"")
            self._writer.close()
        return status == b"101"

    async def live(self) -> None:
        """Answer what the node sends until the end, and note when and how it closes the first connection."""
        reader, writer = self._reader, self._writer
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            first = PING
            while first == PING:  # a node ends who leaves it unanswered, and it takes long until all are in
                first, length = await reader.readexactly(2)
                payload = await reader.readexactly(length)
                answer = payload if first == PING else payload[:2]
                writer.write(bytes((PONG if first == PING else first, 0x80 | len(answer), *bytes(4))) + answer)
            self._note(int.from_bytes(payload[:2], "big"))
            await reader.read()
        self._note(1006)

    def _note(self, code: int) -> None:
        if not self.closed.is_set():
            self.closed_at, self.code = time.monotonic(), code
            self.closed.set()

    def cut(self) -> None:
        self._writer.transport.abort()


async def crowd(service: Service, count: int, lives: asyncio.TaskGroup) -> list[Idle]:
    """A master and its viewers of each of some channels, at node 0."""
    names = [f"crowd-{number}" for number in range(count // PER_CHANNEL)]
    arns = [await asyncio.to_thread(service.create, name) for name in names]
    paths = []
    for number in range(count):
        query = {"X-Amz-ChannelARN": arns[number // PER_CHANNEL], "token": service.token}
        if number % PER_CHANNEL:
            query["X-Amz-ClientId"] = f"v{number}"
        paths.append(f"/{'viewer' if number % PER_CHANNEL else 'master'}?{urlencode(query)}")
    idle = [Idle(path) for path in paths]
    slots = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for each in idle:
            group.create_task(admitted(each, service.nodes[0], slots, lives))
    return idle


async def admitted(idle: Idle, node: Node, slots: asyncio.Semaphore, lives: asyncio.TaskGroup) -> None:
    """Try until it is in: while Redis does not answer in time, a node answers 503."""
    async with slots:
        while not await idle.is_admitted(node):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.2)
    lives.create_task(idle.live())


async def comes_back(idle: Idle, node: Node, slots: asyncio.Semaphore, lives: asyncio.TaskGroup) -> float:
    """Seconds from its close to its admission at the other node."""
    await idle.closed.wait()
    await admitted(idle, node, slots, lives)
    return time.monotonic() - idle.closed_at


@contextlib.asynccontextmanager
async def behind(redis: RedisServer) -> AsyncIterator[tuple[FaultProxy, str]]:
    async with fault_proxy(redis.host, redis.port) as proxy:
        yield proxy, f"redis://{proxy.host}:{proxy.port}"


@pytest.mark.parametrize(
    ("count", "drain_s", "delay_s"),
    [(500, 6.0, 0.0), (3000, 12.0, 0.25)],
    ids=["500", "3000 with a Redis half a second away"],
)
async def test_a_node_drains(tmp_path: Path, row: Row, count: int, drain_s: float, delay_s: float) -> None:
    words = ("--drain-s", str(drain_s), "--limits-profile", "relaxed")
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            behind(redis) as (proxy, url),
            nodes(tmp_path, redis.url, *words, own=(("--redis", url), ())) as service,
            channel(service, "door", "v1") as door,
            asyncio.TaskGroup() as lives,
        ):
            ending, other = service.nodes
            idle = await crowd(service, count, lives)
            await stay(door, other)
            proxy.delay(delay_s)
            async with talking(door, every_s=0.02), asyncio.TaskGroup() as group:
                slots = asyncio.Semaphore(AT_ONCE)
                coming = [group.create_task(comes_back(each, other, slots, lives)) for each in idle]
                await asyncio.sleep(0.5)
                began = time.monotonic()
                ending.terminate()
                assert await asyncio.to_thread(ending.process.wait, drain_s + PATIENCE_S) == 0
                ended_s = time.monotonic() - began
                held = slot_nodes(redis)
                left = held.total() - held[node_of(redis, door)]
            await all_settled(door)
            metric = 'heliograph_signaling_connections{role="viewer"}'
            await until_asked(lambda: other.metric(metric) == count - count // PER_CHANNEL + 1)
            for each in idle:
                each.cut()

    door.check()
    assert door.delivered == len(door.said)
    closed_s = sorted(each.closed_at - began for each in idle)
    first, last = closed_s[0], closed_s[-1]
    parts = Counter(int(PARTS * (at - first) / (last - first) * 0.999) for at in closed_s)
    row("first closed", first)
    row("last closed", last, goal=drain_s)
    row("fewest closed in a quarter of the time between", min(parts[n] for n in range(PARTS)), "connections")
    row("most closed in a quarter", max(parts.values()), "connections")
    row("leases left", left, "leases", goal=0)
    row("end of the process", ended_s, goal=drain_s + 2.0)
    row("from the last close to it", ended_s - last, goal=1.0 + 2 * AFTER_CLOSES * delay_s)
    row("slowest client back at the other node", max(task.result() for task in coming))
    row("messages between two who stayed", door.delivered, "messages")
    assert {each.code for each in idle} == {1001}
    early = [number for number, at in enumerate(closed_s) if at < (drain_s - LAST_S) * number / count]
    assert not early, "of the time before the last seconds everybody has an equal part, and goes within it or later"
    assert delay_s or (left == 0 and '"drained"' in ending.log)


def node_of(server: RedisServer, ledger: Ledger) -> str:
    """The node where the master of this channel is, as Redis has it."""
    value = server.command("HGET", f"heliograph:{{{ledger.arn}}}:slots", "master")
    assert isinstance(value, bytes)
    return value.decode().split()[2]


async def stay(ledger: Ledger, node: Node) -> None:
    for party in ledger.parties:
        await until_in(party, node)


async def test_a_second_sigterm_ends_a_long_drain_at_once(tmp_path: Path, row: Row) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, "--drain-s", "600") as service,
            channel(service, "door", "v1", "v2", "v3", "v4") as door,
        ):
            node, other = service.nodes
            await stay(door, node)
            node.terminate()
            await until_red(node, "drain")
            await asyncio.sleep(0.5)
            began = time.monotonic()
            node.terminate()
            assert await asyncio.to_thread(node.process.wait, PATIENCE_S) == 0
            ended_s = time.monotonic() - began
            for party in door.parties:
                await party.line.ended.wait()
                assert party.line.end == (1001, "this node is going away")
            await until_in(door.master, other)
    row("end of the process", ended_s, goal=1.0)


async def test_a_node_drains_while_redis_is_frozen(tmp_path: Path, row: Row) -> None:
    """Messages between nodes fail now: who was read is told so before its close. Who was not cannot be told any more,
    so only what was said 2 s before the end of a connection counts, as everywhere where Redis fails.
    """
    drain_s = 3.0
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with (
            nodes(tmp_path, redis.url, "--drain-s", str(drain_s), "--limits-profile", "relaxed") as service,
            channel(service, "door", "v1", "v2", "v3") as door,
        ):
            ending, other = service.nodes
            for number, party in enumerate(door.parties):
                await until_in(party, service.nodes[number % 2])
            async with staying(*door.parties, nodes=(other,)), talking(door, every_s=0.05):
                await asyncio.sleep(0.5)
                redis.stop()
                await asyncio.sleep(0.5)
                began = time.monotonic()
                ending.terminate()
                assert await asyncio.to_thread(ending.process.wait, drain_s + PATIENCE_S) == 0
                ended_s = time.monotonic() - began
                redis.cont()
                await until(lambda: all(party.is_in for party in door.parties))
                await asyncio.sleep(0.5)
            await all_settled(door)
            end_codes = {line.end[0] for party in door.parties for line in party.lines if line.node is ending}
            lost = [number for number in door.said if not door.is_settled(number)]

    door.check()
    row("answered with an error", len(door.answers_s()), "messages")
    row("slowest answer", max(door.answers_s(), default=0.0), goal=ANSWER_S)
    row("said in the last 2 s and not read in time", len(lost), "messages")
    row("end of the process", ended_s, goal=drain_s + 5.0)
    assert end_codes == {1001}
