"""Rows of `bench signaling` over a few hundred connections: throughput by shape, latency, one that never reads."""

import contextlib
from collections.abc import Sequence

from app.bench import Row
from tests.benchmarks import _signaling_rows as rows
from tests.benchmarks._processor import pss_kib
from tests.benchmarks._signaling_bench import CHANNELS, IN_FLIGHT, RATE, Bench, Group, Party, Reports, of_relays
from tests.benchmarks._signaling_load import PAYLOAD, Order, Report
from tests.benchmarks._signaling_relays import STOCK, TLS, plain_targets
from tests.benchmarks._signaling_rows import Goal

BIG = 9_000
_MIB = 1024


async def relay_k3(bench: Bench) -> tuple[Row, ...]:
    """Three viewers a channel."""
    reports = await bench.all_four(_closed(bench), 3)
    speeds = _speeds(reports)
    against_raw = {name: speeds[name] for name in ("ours", "raw TCP")}
    unit, goal = "messages/CPU-s", Goal("ratio", ">=", 0.4)
    return (
        _relay("relay_k3", reports, Goal("ratio", ">=", 2.0), _shape(3)),
        rows.row("relay_k3_vs_raw_tcp", unit, against_raw, goal, "the runs of relay_k3"),
    )


async def relay_k10(bench: Bench) -> tuple[Row, ...]:
    """Ten viewers a channel."""
    reports = await bench.all_four(_closed(bench), 10)
    return (_relay("relay_k10", reports, Goal("ratio", ">=", 2.5), _shape(10)),)


async def relay_k1(bench: Bench) -> tuple[Row, ...]:
    """One viewer a channel."""
    reports = await bench.all_four(_closed(bench), 1, channels=IN_FLIGHT)
    return (_relay("relay_k1", reports, None, _shape(1, channels=IN_FLIGHT)),)


async def relay_9kb(bench: Bench) -> tuple[Row, ...]:
    """Messages as long as the offer of a browser with many codecs."""
    reports = await bench.all_four(_closed(bench), 3, payload=BIG)
    return (_relay("relay_9kb", reports, None, _shape(3, payload=BIG)),)


async def relay_k3_stock(bench: Bench) -> tuple[Row, ...]:
    """Our application over uvicorn's websocket, beside a relay on Starlette that does nothing else."""
    with contextlib.ExitStack() as stack:
        service = await bench.relays.service(stack, CHANNELS, *STOCK)
        yardstick = bench.yardsticks[1]
        parties: list[Party] = [
            (service.relay, service.targets(CHANNELS, 3)),
            (yardstick, plain_targets(CHANNELS, 3)),
        ]
        reports = await bench.compare(_closed(bench), parties)
    return (_relay("relay_k3_stock", reports, None, f"serve --websocket stock, the fallback; {_shape(3)}"),)


async def relay_tls(bench: Bench) -> tuple[Row, ...]:
    """TLS that ends in the process."""
    with contextlib.ExitStack() as stack:
        service = await bench.relays.service(stack, CHANNELS, *TLS)
        node = bench.relays.node(stack, is_secure=True)
        reports = await bench.compare(
            _closed(bench), [(service.relay, service.targets(CHANNELS, 3)), (node, plain_targets(CHANNELS, 3))]
        )
    cost = {name: [report.cpu_us() for report in each] for name, each in reports.items()}
    return (rows.row("relay_tls", "us CPU/message", cost, None, f"TLS 1.3, {_shape(3)}; {_usage(reports)}"),)


async def latency(bench: Bench) -> tuple[Row, ...]:
    """The way of one message at a load that is the same for all."""
    reports = await bench.all_four(Order("open", RATE, bench.seconds), 3)
    p50 = {name: [report.p50_us for report in each] for name, each in reports.items()}
    p99 = {name: [report.p99_us for report in each] for name, each in reports.items()}
    note = f"{RATE} messages/s at random moments, {CHANNELS} channels of 3; {_usage(reports)}"
    below = Goal("ratio", "<", 1.0)
    return (
        rows.row("latency_p50", "us", p50, below, note),
        rows.row("latency_p99", "us", p99, below, "the runs of latency_p50", best=True),
    )


async def slow_reader(bench: Bench) -> tuple[Row, ...]:
    """What the others see while one viewer never reads, though it is sent as much as all of them."""
    service = await bench.service()
    parties = [(service.relay, service.targets(CHANNELS, 3)), (bench.yardsticks[0], plain_targets(CHANNELS, 3))]
    order = Order("open", RATE, bench.seconds, warm_s=0.0)
    reports: dict[str, list[Report]] = {relay.name: [] for relay, _ in parties}
    grown: dict[str, list[float]] = {relay.name: [] for relay, _ in parties}
    for number in range(bench.runs):
        for relay, targets in parties if number % 2 else reversed(parties):
            async with bench.generator.load(relay, _with_deaf(targets)) as load:
                before = pss_kib(relay.pids[0])
                reports[relay.name].append(await load.run(order))
                grown[relay.name].append((pss_kib(relay.pids[0]) - before) / _MIB)
    p99 = {name: [report.p99_us for report in each] for name, each in reports.items()}
    memory = ", ".join(f"{name} {max(each):.1f}" for name, each in grown.items())
    note = (
        f"p99 of the others at {RATE} messages/s while a viewer that never reads is sent as many; memory grew by "
        f"{memory} MiB at most; {_usage(reports)}"
    )
    return (rows.row("slow_reader_p99", "us", p99, None, note),)


def _with_deaf(targets: Sequence[str]) -> list[str]:
    """The same connections, but the first viewer never reads."""
    first = next(index for index, line in enumerate(targets) if line.startswith("V "))
    return [f"D{line[1:]}" if index == first else line for index, line in enumerate(targets)]


def _closed(bench: Bench) -> Order:
    return Order("closed", IN_FLIGHT, bench.seconds)


def _shape(viewers: int, channels: int = CHANNELS, payload: int = PAYLOAD) -> str:
    return f"{channels} channels of {viewers}, {payload} B, {IN_FLIGHT} under way"


def _speeds(reports: Reports) -> dict[str, list[float]]:
    return {name: [report.per_cpu_s for report in each] for name, each in reports.items()}


def _usage(reports: Reports) -> str:
    return rows.usage(reports["ours"])


def _relay(name: str, reports: Reports, goal: Goal | None, note: str) -> Row:
    return rows.row(name, "messages/CPU-s", _speeds(reports), goal, f"{note}; {_usage(reports)}")


GROUPS = (
    Group(("relay_k3", "relay_k3_vs_raw_tcp"), relay_k3, of_relays(4)),
    Group(("relay_k10",), relay_k10, of_relays(4)),
    Group(("relay_k3_stock",), relay_k3_stock, of_relays(2)),
    Group(("latency_p50", "latency_p99"), latency, of_relays(4)),
    Group(("relay_k1",), relay_k1, of_relays(4), is_default=False),
    Group(("relay_9kb",), relay_9kb, of_relays(4), is_default=False),
    Group(("relay_tls",), relay_tls, of_relays(2), is_default=False),
    Group(("slow_reader_p99",), slow_reader, of_relays(2), is_default=False),
)
