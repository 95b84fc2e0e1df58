"""Emulator: from the start of its process to the ready line, and to a channel that boto3 has created.

boto3 is loaded before, as in a test run; its session and client are made within. How long a Python process takes to
load boto3 is measured beside, since it says what the machine is worth at that moment.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import boto3
import msgspec

from app.bench import Ratio, Row
from app.pytest_plugin import running

LEAST_RUNS = 5

Progress = Callable[[str], None]


class Run(msgspec.Struct, frozen=True):
    """One start, in milliseconds since the process was made; `reset` by itself, `boto3` the yardstick."""

    ready: float
    created: float
    reset: float
    boto3: float


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Start it `runs` times, five at least."""
    measured = []
    for number in range(max(runs, LEAST_RUNS)):
        measured.append(await asyncio.to_thread(_measure))
        progress(f"run {number + 1}: created after {measured[-1].created:.0f} ms")
    return rows(measured)


def _measure() -> Run:
    assert boto3.__version__
    started = time.perf_counter()
    with running() as emulator:
        ready = _since(started)
        emulator.client("kinesisvideo").create_signaling_channel(ChannelName="first")
        created = _since(started)
        before = time.perf_counter()
        emulator.reset()
        reset = _since(before)
    before = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", "import boto3"], check=True)
    return Run(ready, created, reset, _since(before))


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def rows(measured: Sequence[Run]) -> tuple[Row, ...]:
    """The three rows of these runs."""
    peer = [run.boto3 for run in measured]
    return (
        _row("spawn_to_ready", [run.ready for run in measured], peer, "-"),
        _row("spawn_to_first_create", [run.created for run in measured], peer, "< 1000"),
        _row("reset", [run.reset for run in measured], peer, "-"),
    )


def _row(name: str, ours: Sequence[float], peer: Sequence[float], goal: str) -> Row:
    note = f"{len(ours)} runs: {min(ours):.0f} {statistics.median(ours):.0f} {max(ours):.0f} ms (min median max)"
    yardstick = round(statistics.median(peer), 1)
    ratio = Ratio.of(ours, peer)
    return Row(name, round(statistics.median(ours), 1), yardstick, "import boto3", "ms", ratio, goal, note)
