"""`heliograph bench`: run one benchmark of the checkout and show its rows."""

import argparse
import asyncio
import sys
from collections.abc import Mapping

import msgspec

from app import bench
from app.bench_flags import OPTIONS
from app.exits import Exit
from app.settings import Loaded


def run(arguments: argparse.Namespace, _: Loaded) -> Exit:
    """Print a table, or with --json one line; progress goes to stderr."""
    options = {name: value for name in OPTIONS if (value := getattr(arguments, name, None)) is not None}
    rows = asyncio.run(_measure(bench.find(arguments.bench), arguments.runs, options))
    outcome = bench.Outcome(arguments.bench, bench.machine(), arguments.runs, rows)
    print(msgspec.json.encode(outcome).decode() if arguments.json else bench.table(outcome))
    return Exit.OK


async def _measure(benchmark: bench.Benchmark, runs: int, options: Mapping[str, object]) -> bench.Rows:
    return await benchmark(runs, lambda text: print(text, file=sys.stderr, flush=True), options)
