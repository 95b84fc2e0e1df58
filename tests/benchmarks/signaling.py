"""Signaling: what a relayed message costs the server and how long it takes, beside yardsticks of the same run.

Ours is a real `heliograph serve` on one core, with a token for each connection and its default settings, but for the
limits: those of AWS refuse a viewer's sixth offer in a second and a channel's eleventh viewer, so they are relaxed. A
compiled generator on the other core plays masters and viewers. The yardsticks: a relay written by hand on node's `ws`,
one on stock uvicorn and Starlette, and one in C that only copies bytes. Throughput is per CPU-second of the server in
a closed loop; latency is from the planned moment of sending, with Poisson's arrivals.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.bench import Progress, Row
from tests.benchmarks import _signaling_crowd, _signaling_nodes, _signaling_relayed, auth
from tests.benchmarks._signaling_bench import Bench, Group
from tests.benchmarks._signaling_rows import shown

SECONDS = 2.0
_CONNECTS = ("connects_hs256", "connects_es256")


async def connects(bench: Bench) -> tuple[Row, ...]:
    """TCP, upgrade, token and close, beside node that checks the same with its own crypto."""
    return await auth.connects(_CONNECTS, bench.runs, lambda _: None)


def _connects_s(runs: int, _: float) -> float:
    return 3.0 + len(_CONNECTS) * 2 * (runs * 2.0 + 1.0)


GROUPS = (
    *_signaling_relayed.GROUPS,
    Group(_CONNECTS, connects, _connects_s),
    *_signaling_nodes.GROUPS,
    *_signaling_crowd.GROUPS,
)
ROWS = tuple(name for group in GROUPS for name in group.rows)


def chosen(names: Sequence[str]) -> list[Group]:
    """The groups that have one of these rows; those of the default without a name."""
    return [group for group in GROUPS if (set(names) & set(group.rows) if names else group.is_default)]


async def run(runs: int, progress: Progress, *, rows: Sequence[str] = (), seconds: float = SECONDS) -> tuple[Row, ...]:
    """Measure the chosen rows `runs` times, none being the usual ones; `seconds` is how long one run takes."""
    groups = chosen(rows)
    expected_s = sum(group.seconds(runs, seconds) for group in groups)
    progress(f"signaling: about {expected_s / 60:.1f} minutes")
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder, contextlib.ExitStack() as stack:
        bench = Bench(Path(folder), stack, runs, seconds, progress)
        for group in groups:
            for row in await group.measure(bench):
                if not rows or row.name in rows:
                    progress(told(row))
                    found.append(row)
    return tuple(found)


def told(row: Row) -> str:
    """One row in a line, while the others are measured."""
    beside = f" against {shown(row.peer)}, ratio {row.ratio.median:.2f}" if row.ratio and row.peer is not None else ""
    missed = f": the goal {row.goal} is missed" if row.is_met is False else ""
    return f"{row.name}: {shown(row.ours)} {row.unit}{beside}{missed}"


if __name__ == "__main__":
    for each in asyncio.run(run(1, print)):
        print(each)
