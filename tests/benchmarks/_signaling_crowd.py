"""Rows of `bench signaling` over thousands of connections: memory of idle ones, and cost by the number of channels."""

import asyncio
import contextlib
import resource
from collections.abc import Callable

from app.bench import Row
from tests.benchmarks import _signaling_rows as rows
from tests.benchmarks._processor import pss_kib
from tests.benchmarks._signaling_bench import PER_RUN_S, RATE, Bench, Group, Party
from tests.benchmarks._signaling_load import Load, Order
from tests.benchmarks._signaling_relays import TLS, plain_targets
from tests.benchmarks._signaling_rows import Goal

IDLE = 8_000
VIEWERS = 3
AT_ONCE = 32
SIZES = (10, 1_000, 10_000)
_EXCHANGE = Order("once", AT_ONCE, 60.0)
_SETTLE_S = 1.5
_SPARE_FILES = 200  # of a process: libraries, listeners, databases


async def memory_plain(bench: Bench) -> tuple[Row, ...]:
    """What an idle websocket holds."""
    return (await _memory(bench, "memory_idle_plain", is_secure=False, goal=Goal("ours", "<=", 6)),)


async def memory_tls(bench: Bench) -> tuple[Row, ...]:
    """What an idle websocket holds over TLS that ends in the process."""
    return (await _memory(bench, "memory_idle_tls", is_secure=True, goal=Goal("ours", "<=", 32)),)


async def _memory(bench: Bench, name: str, *, is_secure: bool, goal: Goal) -> Row:
    channels = IDLE // (VIEWERS + 1)
    kib: dict[str, list[float]] = {"ours": [], "node ws": []}
    for _ in range(bench.runs):
        with contextlib.ExitStack() as stack:  # fresh processes each time: none gives all back that it once had
            service = await bench.relays.service(stack, channels, *(TLS if is_secure else ()))
            node = bench.relays.node(stack, is_secure=is_secure)
            async with asyncio.TaskGroup() as group:  # at once: memory does not depend on time
                for party in (
                    (service.relay, service.targets(channels, VIEWERS)),
                    (node, plain_targets(channels, VIEWERS)),
                ):
                    group.create_task(_hold(bench, party, kib[party[0].name]))
    note = (
        f"proportional set size, {IDLE} open, {channels} channels of {VIEWERS}, each sent and got a message of 1.2 KB; "
        "kernel sockets not counted"
    )
    return rows.row(name, "KiB/connection", kib, goal, note)


async def _hold(bench: Bench, party: Party, kib: list[float]) -> None:
    relay, targets = party
    few = 3 * (VIEWERS + 1)
    async with bench.generator.load(relay, targets[:few], is_timed=False) as load:  # loads what is not for each
        await load.run(_EXCHANGE)
    await asyncio.sleep(_SETTLE_S)
    before = pss_kib(relay.pids[0])
    async with bench.generator.load(relay, targets, is_timed=False) as load:
        report = await load.run(_EXCHANGE)
        assert report.messages == 2 * IDLE // (VIEWERS + 1) * VIEWERS, report
        await asyncio.sleep(_SETTLE_S)
        kib.append((pss_kib(relay.pids[0]) - before) / len(targets))


async def growth(bench: Bench) -> tuple[Row, ...]:
    """Cost of a message by the number of channels, each size of each relay in a process of its own, all by turns."""
    costs: dict[str, list[list[float]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        processes = stack.enter_context(contextlib.ExitStack())
        loads: list[Load] = []
        for size in SIZES:
            bench.progress(f"growth: connecting {size} channels of each relay")
            parties = await _parties(bench, processes, size)
            loads += [await stack.enter_async_context(bench.generator.load(*party)) for party in parties]
        order = Order("open", RATE, bench.seconds)
        for load in loads:
            await load.run(Order("once", AT_ONCE, 60.0))
        for _ in range(bench.runs):
            for name in dict.fromkeys(load.relay.name for load in loads):
                own = [load for load in loads if load.relay.name == name]
                costs.setdefault(name, []).append([(await load.run(order)).cpu_us() for load in own])
    growths = {name: [run[-1] / run[0] for run in each] for name, each in costs.items()}
    return (rows.row("growth_10_to_10000", "times", growths, Goal("ours", "<=", 1.2), _growth_note(costs)),)


async def _parties(bench: Bench, stack: contextlib.ExitStack, size: int) -> list[Party]:
    service = await bench.relays.service(stack, size)
    ours, plain = service.targets(size, 1), plain_targets(size, 1)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE_FILES
    return [
        (relay, fitting(targets, most))
        for relay, targets in (
            (service.relay, ours),
            (bench.relays.node(stack), plain),
            (bench.relays.raw(stack), plain),
        )
    ]


def fitting(targets: list[str], most: int) -> list[str]:
    """At most so many connections: viewers are left out, the last ones first."""
    over = len(targets) - most
    kept: list[str] = []
    for line in reversed(targets):
        if over > 0 and line.startswith("V "):
            over -= 1
        else:
            kept.append(line)
    return kept[::-1]


def _growth_note(costs: dict[str, list[list[float]]]) -> str:
    medians = {
        name: [sorted(run[place] for run in each)[len(each) // 2] for place in range(len(SIZES))]
        for name, each in costs.items()
    }
    shown = ", ".join(f"{name} {' '.join(f'{cost:.1f}' for cost in each)}" for name, each in medians.items())
    sizes = " ".join(str(size) for size in SIZES)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE_FILES
    least = f" ({files} connections: the limit of open files)" if files < 2 * SIZES[-1] else ""
    costs_shown = f"us CPU/message at {sizes} channels of a master and a viewer{least}: {shown}"
    return f"{costs_shown}; {RATE} messages/s over all of them"


def _idle_s(per_connect_s: float) -> Callable[[int, float], float]:
    return lambda runs, _: runs * (2 * _SETTLE_S + 2.0 + IDLE * per_connect_s)


def _growth_s(runs: int, seconds: float) -> float:
    return 60.0 + 3 * len(SIZES) * runs * (seconds + PER_RUN_S)


GROUPS = (
    Group(("memory_idle_plain",), memory_plain, _idle_s(0.002)),
    Group(("memory_idle_tls",), memory_tls, _idle_s(0.004)),
    Group(("growth_10_to_10000",), growth, _growth_s),
)
