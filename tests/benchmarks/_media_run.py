"""One measurement of `media.py`: a sender process on one core, its viewers on another, and the signaling between them.

The unit is CPU-seconds of the sender and of all that it started, per second.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tests.benchmarks._light_viewers import Answer
from tests.benchmarks._pipe import LINE_LIMIT, Line, decode, encode
from tests.benchmarks._processor import cores, cpu_seconds

ROOT = Path(__file__).parent.parent.parent
CONNECT_LIMIT_S = 40.0
COUNT_LIMIT_S = 20.0


class Load(msgspec.Struct, frozen=True):
    """One measurement: cores of the sender and of all its viewers, frames per second of the worst and of the mean
    viewer, lost packets, suite, and milliseconds from capture to the last packet of the last viewer (0: unknown).
    """

    cores: float
    viewer_cores: float
    fps: float
    mean_fps: float
    lost: int
    suite: str
    p50_ms: float
    p95_ms: float

    @property
    def cores_delivered(self) -> float:
        """Cores for a second of video that arrives at 30 fps: the cost of a sender that cannot keep up."""
        return self.cores * 30 / self.mean_fps if self.mean_fps else float("inf")


@asynccontextmanager
async def _child(core: int | None, command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in the checkout on one core, ended by the end of its input, or killed a second later."""
    mine = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})  # a child begins where its parent is
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT
        )
    finally:
        os.sched_setaffinity(0, mine)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class Pair:
    """A sender and its viewers, and the signaling between them."""

    def __init__(self, sender: asyncio.subprocess.Process, viewers: asyncio.subprocess.Process) -> None:
        self.sender = sender
        self.viewers = viewers
        self.ready = asyncio.Event()
        self._counts: asyncio.Queue[Answer] = asyncio.Queue(1)

    async def relay(self, source: asyncio.subprocess.Process, target: asyncio.subprocess.Process) -> None:
        """Carry every line across; counts stay here."""
        assert source.stdout is not None
        assert target.stdin is not None
        while text := await source.stdout.readline():
            line = decode(text)
            if line.type == "COUNTED":
                await self._counts.put(msgspec.json.decode(line.payload, type=Answer))
            elif line.type == "READY":
                self.ready.set()
            else:
                target.stdin.write(text)
        raise RuntimeError("a process of the benchmark ended by itself")

    async def count(self) -> Answer:
        """What each viewer has received by now."""
        assert self.viewers.stdin is not None
        self.viewers.stdin.write(encode(Line("COUNT")) + b"\n")
        async with asyncio.timeout(COUNT_LIMIT_S):
            return await self._counts.get()


class Times(msgspec.Struct, frozen=True):
    """Seconds from all connected to the beginning of the measurement, and of it."""

    warm_up_s: float = 2.0
    measure_s: float = 5.0


def ours(source: str, channels: int = 1) -> tuple[str, ...]:
    """The command of our master."""
    return (sys.executable, "-m", "tests.benchmarks._media_master", source, str(channels))


async def load(sender: Sequence[str], viewers: int, times: Times, codec: str = "H264") -> Load:
    """Measure one sender with that many viewers."""
    sender_core, viewer_core = cores()
    watch = (sys.executable, "-m", "tests.benchmarks._light_viewers", str(viewers), codec)
    async with (
        _child(sender_core, sender) as sending,
        _child(viewer_core, watch) as watching,
        asyncio.TaskGroup() as group,
    ):
        pair = Pair(sending, watching)
        relays = [
            group.create_task(pair.relay(sending, watching)),
            group.create_task(pair.relay(watching, sending)),
        ]
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await pair.ready.wait()
        await asyncio.sleep(times.warm_up_s)
        result = await _measure(pair, times.measure_s)
        for relay in relays:
            relay.cancel()
    return result


async def _measure(pair: Pair, measure_s: float) -> Load:
    before = (await pair.count()).counts
    started, cpu, viewer_cpu = time.monotonic(), tree_seconds(pair.sender.pid), cpu_seconds(pair.viewers.pid)
    await asyncio.sleep(measure_s)
    spent, viewer_spent = tree_seconds(pair.sender.pid) - cpu, cpu_seconds(pair.viewers.pid) - viewer_cpu
    answer = await pair.count()
    seconds, after = time.monotonic() - started, answer.counts
    rates = [(late.frames - early.frames) / seconds for early, late in zip(before, after, strict=True)]
    delays = sorted(answer.latencies_s) or [0.0]
    return Load(
        cores=spent / seconds,
        viewer_cores=viewer_spent / seconds,
        fps=min(rates),
        mean_fps=statistics.mean(rates),
        lost=sum(late.lost - early.lost for early, late in zip(before, after, strict=True)),
        suite=after[0].suite,
        p50_ms=1000 * delays[len(delays) // 2],
        p95_ms=1000 * delays[int(0.95 * (len(delays) - 1))],
    )


def tree_seconds(pid: int) -> float:
    """Processor time of a process and of all that it started and that is still there."""
    total, known = 0.0, [pid]
    for one in known:
        total += cpu_seconds(one)
        for thread in Path(f"/proc/{one}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
                known += [int(child) for child in (thread / "children").read_text().split()]
    return total
