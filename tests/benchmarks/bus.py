"""The bus between two nodes over a Redis of this machine: what a message of 1.3 KB costs both, and how long it takes.

2,000 messages a second, each sent at a moment of its own as those of many viewers are; a process that only keeps the
same rate shows what the clockwork costs, and that is taken off. The yardstick is the same over redis-py.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.bench import Ratio, Row
from tests.redis_server import RedisServer

COUNT = 6_000
RATE = 2_000
NOTE = f"{RATE} messages/s of 1.3 KB, two processes, one Redis"
_LIMIT_S = 60.0


class Outcome(msgspec.Struct):
    """What a node says at its end."""

    cpu_s: float
    latencies: list[float]


class Figures(msgspec.Struct):
    """Of one run, in microseconds: processor time of both nodes per message, and the way from one to the other."""

    cpu: float
    p50: float
    p99: float


async def run(runs: int, progress: Callable[[str], None]) -> tuple[Row, ...]:
    """Measure `runs` times; `heliograph bench bus`."""
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder) / "redis") as server:
        for number in range(runs):
            progress(f"bus: run {number + 1} of {runs}")
            ours.append(await _once(server, "ours", f"ours-{number}"))
            peer.append(await _once(server, "stock", f"stock-{number}"))
    return tuple(
        _row(name, goal, [getattr(each, name) for each in ours], [getattr(each, name) for each in peer])
        for name, goal in (("cpu", "<= 30"), ("p50", "<= 300"), ("p99", "<= 1000"))
    )


def _row(name: str, goal: str, ours: list[float], peer: list[float]) -> Row:
    medians = statistics.median(ours), statistics.median(peer)
    return Row(f"bus_{name}_us", medians[0], medians[1], "redis-py", "us", Ratio.of(ours, peer), goal, NOTE)


async def _once(server: RedisServer, engine: str, prefix: str) -> Figures:
    async with contextlib.AsyncExitStack() as stack:
        receiver = await _started(stack, "receive", engine, server.url, prefix)
        sender = await _started(stack, "send", engine, server.url, prefix)
        sent, received = await _ended(sender), await _ended(receiver)
        paced = await _ended(await _started(stack, "pace", engine, server.url, prefix))
    times = sorted(1e6 * latency for latency in received.latencies)
    cpu_s = sent.cpu_s + received.cpu_s - paced.cpu_s
    return Figures(1e6 * cpu_s / COUNT, times[COUNT // 2], times[COUNT * 99 // 100])


async def _started(stack: contextlib.AsyncExitStack, *role: str) -> Process:
    words = ("-m", "tests.benchmarks._bus_node", *role, str(COUNT), str(RATE))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe, limit=2**24)
    stack.push_async_callback(_killed, process)
    assert process.stdout is not None
    async with asyncio.timeout(_LIMIT_S):
        assert await process.stdout.readline() == b"ready\n"
    return process


async def _ended(process: Process) -> Outcome:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    async with asyncio.timeout(_LIMIT_S):
        return msgspec.json.decode(await process.stdout.readline(), type=Outcome)


async def _killed(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
