"""The one door to all benchmarks: rows, ratios, the machine they ran on, and how they are shown.

A benchmark is `tests/benchmarks/<name>.py` of a checkout with
`async def run(runs: int, progress: Callable[[str], None]) -> tuple[Row, ...]`. What else an operator may choose are its
keywords, the flags of `app.bench_flags`; one with the keyword `rows` has the names to choose from in `ROWS`.
"""

import importlib.util
import inspect
import os
import platform
import re
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from app.exits import CommandError, Exit

FOLDER = Path(__file__).parent.parent / "tests" / "benchmarks"
_HEAD = ("row", "ours", "peer", "unit", "ratio (min median max)", "goal", "note")
_MIB = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9-]*")

Progress = Callable[[str], None]


class Ratio(msgspec.Struct, frozen=True):
    """Ours divided by the peer of the same run: least, median and greatest of all runs."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, ours: Sequence[float], peer: Sequence[float]) -> "Ratio":
        """Return the ratio run by run; both hold one figure for each run."""
        ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
        return cls(min(ratios), statistics.median(ratios), max(ratios))


class Row(msgspec.Struct, frozen=True):
    """One figure: `ours` and `peer` are medians in `unit`; `goal` says which side is good, `is_met` whether we are
    there (None: not judged)."""

    name: str
    ours: float
    peer: float | None
    peer_name: str | None
    unit: str
    ratio: Ratio | None
    goal: str
    note: str = ""
    is_met: bool | None = None


Rows = tuple[Row, ...]


class Machine(msgspec.Struct, frozen=True):
    """Where a benchmark ran; memory in MiB."""

    cpu: str
    cores: int
    memory_mib: int
    system: str
    python: str


class Outcome(msgspec.Struct, frozen=True):
    """What `heliograph bench NAME --json` prints."""

    bench: str
    machine: Machine
    runs: int
    rows: Rows


class Benchmark:
    """One benchmark. `rows` are those to choose from, none where it always measures all."""

    def __init__(self, name: str, run: Callable[..., Awaitable[Rows]], rows: tuple[str, ...] = ()) -> None:
        self.name = name
        self.rows = rows
        self._run = run

    async def __call__(self, runs: int, progress: Progress, options: Mapping[str, object] | None = None) -> Rows:
        """Measure `runs` times. Raises: CommandError (exit code 2) for an option, or a row, that it does not have."""
        options = options or {}
        parameters = inspect.signature(self._run).parameters.values()
        known = {each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
        for name in options:
            if name not in known:
                raise CommandError(f"bench {self.name} has no option --{name.replace('_', '-')}", Exit.USAGE)
        for row in msgspec.convert(options.get("rows", ()), tuple[str, ...]):
            if row not in self.rows:
                raise CommandError(f"bench {self.name} has no row {row}; it has: {', '.join(self.rows)}", Exit.USAGE)
        return await self._run(runs, progress, **options)


def find(name: str, folder: Path = FOLDER) -> Benchmark:
    """Load the benchmark called `name`: `first-frame` is `first_frame.py`.

    Raises: CommandError (exit code 2) where there is no checkout, or no such benchmark in it.
    """
    if not folder.is_dir():
        raise CommandError(
            "benchmarks run from a checkout: clone the repository, run `make install`, "
            "then use .venv/bin/heliograph there",
            Exit.USAGE,
        )
    path = folder / f"{name.replace('-', '_')}.py"
    if not _NAME.fullmatch(name) or not path.is_file():
        known = sorted(file.stem.replace("_", "-") for file in folder.glob("[a-z]*.py"))
        raise CommandError(f"no benchmark is called {name}; there are: {', '.join(known) or 'none'}", Exit.USAGE)
    root = str(folder.parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)  # benchmarks import what stands beside them
    specification = importlib.util.spec_from_file_location(f"tests.benchmarks.{path.stem}", path)
    assert specification is not None  # noqa: S101  # the path is a Python file
    assert specification.loader is not None  # noqa: S101  # likewise
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return Benchmark(name, module.run, getattr(module, "ROWS", ()))


def machine() -> Machine:
    """Describe this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    cores = len(os.sched_getaffinity(0))
    return Machine(_processor(), cores, memory, platform.platform(), platform.python_version())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(outcome: Outcome) -> str:
    """Return the rows for people."""
    rows = [_HEAD, *(_cells(row) for row in outcome.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    where = outcome.machine
    title = (
        f"{outcome.bench}, {outcome.runs} run{'s' if outcome.runs > 1 else ''}, {where.cpu}, {where.cores} cores, "
        f"{where.memory_mib} MiB, {where.system}, Python {where.python}"
    )
    return "\n".join((title, *lines))


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio.min:.2f} {row.ratio.median:.2f} {row.ratio.max:.2f}"
    peer = "-" if row.peer is None else f"{_figure(row.peer)} ({row.peer_name})"
    goal = f"{row.goal} MISSED" if row.is_met is False else row.goal
    return (row.name, _figure(row.ours), peer, row.unit, ratio, goal, row.note)


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
