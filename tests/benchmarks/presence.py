"""Presence in Redis: what an admission takes, and what 10,000 idle cameras cost that renew their leases every 5 s.

A server of its own on the same machine. The yardstick of a latency is a script that does nothing, over the same link.
CPU is that of the thread of the node, or of the server by its own account; a turn of the loop that other programs
interrupt is therefore not held longer.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from app.bench import Ratio, Row
from channels.names import Role
from channels.presence import Lease
from channels.redis.link import Link
from channels.redis.presence import RedisPresence
from channels.redis.settings import RedisSettings
from tests.redis_server import RedisServer

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/camera-{}/1700000000000"
SERIAL = 1000
LEASES = 10_000
AT_ONCE = 32
LIMIT = 10
RENEW_S = 5.0

Progress = Callable[[str], None]


class Run(msgspec.Struct, frozen=True):
    """One run: latencies in ms, costs in microseconds of CPU for each, rates per second of wall time."""

    p50: float
    p99: float
    bare_p50: float
    bare_p99: float
    admission_us: float
    admissions_per_s: float
    renewal_us: float
    renewal_redis_us: float
    renewals_per_s: float
    held_ms: float


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure `runs` times, each with an empty server."""
    measured = []
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder, RedisServer(Path(folder)) as server:
            measured.append(await _measure(server))
        last = measured[-1]
        progress(f"run {number + 1}: admission p99 {last.p99:.2f} ms, a renewal {last.renewal_us:.1f} us")
    return rows(measured)


async def _measure(server: RedisServer) -> Run:
    link = Link(RedisSettings.parse(server.url))
    presence = RedisPresence(link, "node-bench")
    bare = link.script("return 1")
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(presence.run())
        for warm_up in range(100):
            await presence.admit(ARN.format(warm_up), Role.MASTER, "", "c", LIMIT)

        async def admit(number: int) -> None:
            await presence.admit(ARN.format(number), Role.MASTER, "", f"c{number}", LIMIT)

        serial = await _latencies(admit)
        nothing = await _latencies(lambda number: bare([ARN.format(number)], ["x"] * 9))
        admissions_per_s, admission_us, leases = await _many(presence)
        renewal = await _renew(presence, leases, server)
        keeper.cancel()
    await link.aclose()
    return Run(*serial, *nothing, admission_us, admissions_per_s, *renewal)


async def _latencies(work: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    taken = []
    for number in range(SERIAL):
        began = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), sorted(taken)[SERIAL * 99 // 100]


async def _many(presence: RedisPresence) -> tuple[float, float, list[Lease]]:
    """Let 10 viewers into each of 1,000 channels, 32 at once."""
    leases: list[Lease] = []
    numbers = iter(range(LEASES))

    async def come() -> None:
        for number in numbers:
            channel, client_id = ARN.format(f"v{number // LIMIT}"), f"viewer-{number % LIMIT}"
            admission = await presence.admit(channel, Role.VIEWER, client_id, f"node-bench-{number}", LIMIT)
            assert admission is not None
            leases.append(Lease(channel, admission.holder))

    began, cpu = time.perf_counter(), time.thread_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(come())
    return LEASES / (time.perf_counter() - began), (time.thread_time() - cpu) / LEASES * 1e6, leases


async def _renew(
    presence: RedisPresence, leases: list[Lease], server: RedisServer
) -> tuple[float, float, float, float]:
    turns: list[float] = []

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - before)

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        assert await presence.renew(leases, LIMIT) == ()
        watcher.cancel()
    redis_s, began, cpu = _redis_s(server), time.perf_counter(), time.thread_time()
    assert await presence.renew(leases, LIMIT) == ()
    wall_s, cpu_s = time.perf_counter() - began, time.thread_time() - cpu
    redis_s = _redis_s(server) - redis_s
    return cpu_s / LEASES * 1e6, redis_s / LEASES * 1e6, LEASES / wall_s, max(turns) * 1000


def _redis_s(server: RedisServer) -> float:
    reply = server.command("INFO", "cpu")
    assert isinstance(reply, bytes)
    used = dict(line.split(":") for line in reply.decode().split() if ":" in line)
    return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])


def rows(measured: list[Run]) -> tuple[Row, ...]:
    """One row for each figure; the median of all runs."""

    def of(name: str, field: str, unit: str, goal: str, note: str, yardstick: str = "") -> Row:
        ours = [getattr(each, field) for each in measured]
        peer = [getattr(each, yardstick) for each in measured] if yardstick else None
        return Row(
            name=name,
            ours=round(statistics.median(ours), 3),
            peer=None if peer is None else round(statistics.median(peer), 3),
            peer_name="script that does nothing" if peer else None,
            unit=unit,
            ratio=Ratio.of(ours, peer) if peer else None,
            goal=goal,
            note=note,
        )

    return (
        of("admission_p50", "p50", "ms", "-", f"{SERIAL} masters one after the other", "bare_p50"),
        of("admission_p99", "p99", "ms", "<= 1 (0.4)", "the same", "bare_p99"),
        of("admissions", "admissions_per_s", "viewers/s", "-", f"{AT_ONCE} at once, {LIMIT} to a channel"),
        of("admission_cpu", "admission_us", "us of the node", "-", "the same"),
        of("renewals", "renewals_per_s", "leases/s", f">= {LEASES / RENEW_S:.0f}", f"{LEASES} leases in one call"),
        of("renewal_cpu", "renewal_us", "us of the node", "-", f"10 us are 2 % of a core with {LEASES} every 5 s"),
        of("renewal_redis_cpu", "renewal_redis_us", "us of Redis", "-", "the same"),
        of("renewal_longest_turn", "held_ms", "ms of the loop", "<= 5", "CPU of the longest turn meanwhile"),
    )
