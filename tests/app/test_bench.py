import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from app import bench
from app.bench import Machine, Outcome, Ratio, Row
from app.exits import CommandError

BENCHMARK = """
from app.bench import Row
async def run(runs, progress):
    progress("measuring")
    return (Row("speed", float(runs), None, None, "ms", None, "low"),)
"""

CHOOSING = """
from app.bench import Row
ROWS = ("speed", "size")
async def run(runs, progress, *, rows=ROWS, seconds=2.0):
    return tuple(Row(name, seconds, None, None, "ms", None, "low") for name in rows)
"""


def test_a_ratio_is_taken_run_by_run() -> None:
    assert Ratio.of([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == Ratio(2.0, 3.0, 4.0)


def test_a_benchmark_is_found_by_its_name_with_dashes(tmp_path: Path) -> None:
    (tmp_path / "first_frame.py").write_text(BENCHMARK)
    said: list[str] = []
    rows = asyncio.run(_run(bench.find("first-frame", tmp_path), said))
    assert rows == (Row("speed", 3.0, None, None, "ms", None, "low"),)
    assert said == ["measuring"]


def test_a_benchmark_with_rows_measures_those_that_are_chosen(tmp_path: Path) -> None:
    (tmp_path / "speed.py").write_text(CHOOSING)
    benchmark = bench.find("speed", tmp_path)
    assert benchmark.rows == ("speed", "size")
    assert [row.name for row in asyncio.run(_run(benchmark, []))] == ["speed", "size"]
    chosen = asyncio.run(_run(benchmark, [], {"rows": ("size",), "seconds": 0.5}))
    assert [(row.name, row.ours) for row in chosen] == [("size", 0.5)]


@pytest.mark.parametrize("options", [{"rows": ("speed", "seize"), "seconds": 1.0}, {"rows": ("seize",)}])
def test_a_row_that_a_benchmark_does_not_have_lists_those_it_has(tmp_path: Path, options: Mapping[str, object]) -> None:
    (tmp_path / "speed.py").write_text(CHOOSING)
    with pytest.raises(CommandError, match="bench speed has no row seize; it has: speed, size") as caught:
        asyncio.run(_run(bench.find("speed", tmp_path), [], options))
    assert caught.value.code == 2


@pytest.mark.parametrize(("name", "value"), [("rows", ("speed",)), ("duty_s", 1.0)])
def test_an_option_that_a_benchmark_does_not_have_is_refused(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / "first_frame.py").write_text(BENCHMARK)
    with pytest.raises(CommandError, match=f"^bench first-frame has no option --{name.replace('_', '-')}$") as caught:
        asyncio.run(_run(bench.find("first-frame", tmp_path), [], {name: value}))
    assert caught.value.code == 2


async def _run(
    benchmark: bench.Benchmark, said: list[str], options: Mapping[str, object] | None = None
) -> tuple[Row, ...]:
    return await benchmark(3, said.append, options)


@pytest.mark.parametrize("name", ["nothing", "../test_tree", "first_frame/x", ""])
def test_an_unknown_benchmark_lists_those_there_are(tmp_path: Path, name: str) -> None:
    (tmp_path / "first_frame.py").write_text(BENCHMARK)
    with pytest.raises(CommandError, match="there are: first-frame") as caught:
        bench.find(name, tmp_path)
    assert caught.value.code == 2


def test_an_installed_wheel_says_where_benchmarks_run(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="benchmarks run from a checkout") as caught:
        bench.find("media", tmp_path / "tests" / "benchmarks")
    assert caught.value.code == 2


def test_the_table_shows_figures_and_their_absence() -> None:
    rows = (
        Row("first", 123.4, 100.0, "other", "ms", Ratio(1.0, 1.234, 2.0), "< 1.3"),
        Row("second", 0.123456, None, None, "cores", None, "low", "superfast"),
    )
    text = bench.table(Outcome("media", Machine("CPU", 2, 4096, "Linux", "3.11"), 3, rows)).splitlines()
    assert text[0] == "media, 3 runs, CPU, 2 cores, 4096 MiB, Linux, Python 3.11"
    assert text[2].split() == ["first", "123", "100", "(other)", "ms", "1.00", "1.23", "2.00", "<", "1.3"]
    assert text[3].split() == ["second", "0.123", "-", "cores", "-", "low", "superfast"]


@pytest.mark.parametrize(("is_met", "cell"), [(None, "< 1.3"), (True, "< 1.3"), (False, "< 1.3 MISSED")])
def test_the_table_says_which_goal_was_missed(is_met: bool | None, cell: str) -> None:
    row = Row("first", 1.0, None, None, "ms", None, "< 1.3", "noisy", is_met)
    text = bench.table(Outcome("media", Machine("CPU", 2, 4096, "Linux", "3.11"), 3, (row,))).splitlines()
    assert text[2].endswith(f"  {cell}  noisy")


def test_the_machine_is_described() -> None:
    machine = bench.machine()
    assert machine.cores >= 1
    assert machine.memory_mib > 0
    assert machine.cpu
