"""Rows of `bench signaling` over two nodes: every message crosses from one process to the other by a real Redis."""

import contextlib

from app.bench import Row
from tests.benchmarks import _signaling_rows as rows
from tests.benchmarks._signaling_bench import CHANNELS, Bench, Group, Party, of_relays
from tests.benchmarks._signaling_load import Order, Relay
from tests.benchmarks._signaling_relays import RELAXED, plain_targets, targets
from tests.benchmarks._signaling_rows import Goal
from tests.nodes import Service
from tests.redis_server import RedisServer

RATE = 2_000
_NODES = 2  # of the processes that are counted; the third is Redis


async def two_nodes(bench: Bench) -> tuple[Row, ...]:
    """Masters on one node, viewers on the other; beside it what somebody would write by hand, in the same run."""
    home = bench.home / "nodes"
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(home / "redis", appendonly=True))
        service = stack.enter_context(Service(home, redis.url, *RELAXED))
        arns = [service.create(f"bench-{number}") for number in range(CHANNELS)]
        clients = targets(arns, 3, lambda _, __: {"token": service.token})
        ports = tuple(int(node.http.rpartition(":")[2]) for node in service.nodes)
        pids = (*(node.process.pid for node in service.nodes), redis.pid)
        across, within = Relay("ours", "ws", ports, pids), Relay("one node", "ws", ports[1:], pids)
        own_arns = [service.create(f"within-{number}") for number in range(CHANNELS)]
        own_clients = targets(own_arns, 3, lambda _, __: {"token": service.token})
        plain = plain_targets(CHANNELS, 3)
        by_hand = bench.relays.starlette_nodes(stack, redis)
        parties: list[Party] = [(across, clients), (by_hand, plain)]
        # Beside them what it costs to cross, and what a message costs at least on this host
        parties += [(within, own_clients), (bench.yardsticks[2], plain)]
        reports = await bench.compare(Order("open", RATE, bench.seconds), parties)
    cpu = {name: [report.cpu_us(_NODES) for report in each] for name, each in reports.items()}
    del reports[by_hand.name]  # on a slow host it is full at this rate: its latency would only tell that
    p50 = {name: [report.p50_us for report in each] for name, each in reports.items()}
    p99 = {name: [report.p99_us for report in each] for name, each in reports.items()}
    redis_us = sorted(report.cpu_us() - report.cpu_us(_NODES) for report in reports["ours"])
    note = (
        f"{RATE} messages/s at random moments, {CHANNELS} channels of 3, nodes and Redis on one core; Redis itself "
        f"{redis_us[len(redis_us) // 2]:.1f} us a message ({redis_us[0]:.1f} to {redis_us[-1]:.1f}); "
        f"{rows.usage(reports['ours'])}"
    )
    return (
        rows.row("two_nodes_cpu_us", "us CPU of both/message", cpu, Goal("ours", "<=", 30), note),
        rows.row("two_nodes_p50_us", "us", p50, Goal("ours", "<=", 300), "the runs of two_nodes_cpu_us"),
        rows.row("two_nodes_p99_us", "us", p99, Goal("ours", "<=", 1000), "the runs of two_nodes_cpu_us", best=True),
    )


GROUPS = (Group(("two_nodes_cpu_us", "two_nodes_p50_us", "two_nodes_p99_us"), two_nodes, of_relays(4)),)
