"""Signaling: what a relayed message costs the server and how long it takes, beside yardsticks of the same run.

Ours is a real `heliograph serve` on one core, with tokens; its limits are relaxed, for those of AWS refuse a viewer's
sixth offer in a second. A compiled generator on the other core plays masters and viewers. The yardsticks: a relay
written by hand on node's `ws`, one on stock uvicorn and Starlette, and one in C that only copies bytes. Throughput is
per CPU-second of the server in a closed loop; latency is from the planned moment of sending, with Poisson's arrivals.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from app.bench import Choice, Row
from tests.benchmarks import _signaling_rows as rows
from tests.benchmarks._signaling_load import PAYLOAD, Generator, Load, Order, Report, by_turns
from tests.benchmarks._signaling_relays import Relays, plain_targets
from tests.benchmarks._signaling_rows import Goal

SECONDS = 2.0
CHANNELS = 100
IN_FLIGHT = 300
RATE = 5_000
_PER_LOAD_S = 2.5  # to connect, and to warm up
_PER_RUN_S = 0.6  # the warm-up and the rest of a run

Progress = Callable[[str], None]


class Bench:
    """One campaign: the relays that were started so far, and how it measures."""

    def __init__(self, home: Path, stack: contextlib.ExitStack, runs: int, seconds: float, progress: Progress) -> None:
        self.relays = Relays(home, stack)
        self.generator = Generator(home)
        self.runs = runs
        self.seconds = seconds
        self.progress = progress

    async def measure(self, order: Order, viewers: int, channels: int = CHANNELS) -> dict[str, list[Report]]:
        """Reports of ours, node, Starlette and the ceiling, in this order, by turns."""
        service = self.relays.service()
        plain = plain_targets(channels, viewers)
        parties = [(service.relay, await service.targets(channels, viewers))]
        parties += [(each, plain) for each in (self.relays.node(), self.relays.starlette(), self.relays.raw())]
        async with contextlib.AsyncExitStack() as stack:
            loads = [await stack.enter_async_context(self.generator.load(*party)) for party in parties]
            return await self.by_turns(loads, order)

    async def by_turns(self, loads: Sequence[Load], order: Order) -> dict[str, list[Report]]:
        """Reports by the names of the relays."""
        reports = await by_turns(loads, order, self.runs)
        return {load.relay.name: each for load, each in zip(loads, reports, strict=True)}


# Groups of rows: what is measured together


async def relay_k3(bench: Bench) -> tuple[Row, ...]:
    """Three viewers a channel."""
    reports = await bench.measure(Order("closed", IN_FLIGHT, bench.seconds), 3)
    speeds = {name: [report.per_cpu_s for report in each] for name, each in reports.items()}
    against_raw = {name: speeds[name] for name in ("ours", "raw TCP")}
    return (
        _relay("relay_k3", 3, reports, Goal("ratio", ">=", 2.0)),
        rows.row("relay_k3_vs_raw_tcp", "messages/CPU-s", against_raw, Goal("ratio", ">=", 0.4), "the same runs"),
    )


async def relay_k10(bench: Bench) -> tuple[Row, ...]:
    """Ten viewers a channel."""
    reports = await bench.measure(Order("closed", IN_FLIGHT, bench.seconds), 10)
    return (_relay("relay_k10", 10, reports, Goal("ratio", ">=", 2.5)),)


def _relay(name: str, viewers: int, reports: dict[str, list[Report]], goal: Goal) -> Row:
    speeds = {relay: [report.per_cpu_s for report in each] for relay, each in reports.items()}
    note = f"{CHANNELS} channels of {viewers}, {PAYLOAD} B, {IN_FLIGHT} under way; {rows.usage(reports['ours'])}"
    return rows.row(name, "messages/CPU-s", speeds, goal, note)


async def latency(bench: Bench) -> tuple[Row, ...]:
    """The way of one message at a load that is the same for all."""
    reports = await bench.measure(Order("open", RATE, bench.seconds), 3)
    p50 = {name: [report.p50_us for report in each] for name, each in reports.items()}
    p99 = {name: [report.p99_us for report in each] for name, each in reports.items()}
    note = f"{RATE} messages/s at random moments, {CHANNELS} channels of 3; {rows.usage(reports['ours'])}"
    below = Goal("ratio", "<", 1.0)
    return (
        rows.row("latency_p50", "us", p50, below, note),
        rows.row("latency_p99", "us", p99, below, "the same runs", best=True),
    )


class Group(msgspec.Struct, frozen=True):
    """Rows that are measured together, and about how many seconds that takes."""

    rows: tuple[str, ...]
    measure: Callable[[Bench], Awaitable[tuple[Row, ...]]]
    seconds: Callable[[int, float], float]
    is_default: bool = True


def _four(runs: int, seconds: float) -> float:
    return 4 * (_PER_LOAD_S + runs * (seconds + _PER_RUN_S))


GROUPS = (
    Group(("relay_k3", "relay_k3_vs_raw_tcp"), relay_k3, _four),
    Group(("relay_k10",), relay_k10, _four),
    Group(("latency_p50", "latency_p99"), latency, _four),
)
ROWS = tuple(name for group in GROUPS for name in group.rows)


def chosen(names: Sequence[str]) -> list[Group]:
    """The groups that have one of these rows; those of the default without a name."""
    return [group for group in GROUPS if (set(names) & set(group.rows) if names else group.is_default)]


async def run(runs: int, progress: Progress, choice: Choice | None = None) -> tuple[Row, ...]:
    """Measure the chosen rows `runs` times; `choice.seconds` is how long one run takes."""
    choice = choice or Choice()
    seconds = choice.seconds or SECONDS
    groups = chosen(choice.rows)
    expected_s = sum(group.seconds(runs, seconds) for group in groups)
    progress(f"signaling: about {expected_s / 60:.1f} minutes")
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder, contextlib.ExitStack() as stack:
        bench = Bench(Path(folder), stack, runs, seconds, progress)
        for group in groups:
            for row in await group.measure(bench):
                if not choice.rows or row.name in choice.rows:
                    progress(f"{row.name}: {row.ours:g} {row.unit}")
                    found.append(row)
    return tuple(found)


if __name__ == "__main__":
    for shown in asyncio.run(run(1, print)):
        print(shown)
