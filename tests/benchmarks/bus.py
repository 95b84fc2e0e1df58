"""The bus between two nodes over a Redis of this machine: what a message of 1.3 KB costs both, and how long it takes.

2,000 messages a second, each sent at a moment of its own as those of many viewers are; a process that only keeps the
same rate shows what the clockwork costs, and that is taken off.
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

from app.bench import Row
from tests.redis_server import RedisServer

COUNT = 20_000
RATE = 2_000
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
    figures = []
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder) / "redis") as server:
        for number in range(runs):
            progress(f"bus: run {number + 1} of {runs}")
            figures.append(await _once(server, f"bench-{number}"))
    note = f"{RATE} messages/s of 1.3 KB, two processes, one Redis"
    return tuple(
        Row(f"bus_{name}_us", statistics.median(values), None, None, "us", None, goal, note)
        for name, goal, values in (
            ("cpu", "<= 30", [figure.cpu for figure in figures]),
            ("p50", "<= 300", [figure.p50 for figure in figures]),
            ("p99", "<= 1000", [figure.p99 for figure in figures]),
        )
    )


async def _once(server: RedisServer, prefix: str) -> Figures:
    async with contextlib.AsyncExitStack() as stack:
        receiver = await _started(stack, "receive", server.url, prefix)
        sender = await _started(stack, "send", server.url, prefix)
        sent, received = await _ended(sender), await _ended(receiver)
        paced = await _ended(await _started(stack, "pace", server.url, prefix))
    times = sorted(1e6 * latency for latency in received.latencies)
    cpu_s = sent.cpu_s + received.cpu_s - paced.cpu_s
    return Figures(1e6 * cpu_s / COUNT, times[COUNT // 2], times[COUNT * 99 // 100])


async def _started(stack: contextlib.AsyncExitStack, role: str, url: str, prefix: str) -> Process:
    words = ("-m", "tests.benchmarks._bus_node", role, url, prefix, str(COUNT), str(RATE))
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
