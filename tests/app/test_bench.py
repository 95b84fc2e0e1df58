import asyncio
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


def test_a_ratio_is_taken_run_by_run() -> None:
    assert Ratio.of([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == Ratio(2.0, 3.0, 4.0)


def test_a_benchmark_is_found_by_its_name_with_dashes(tmp_path: Path) -> None:
    (tmp_path / "first_frame.py").write_text(BENCHMARK)
    said: list[str] = []
    rows = asyncio.run(_run(bench.find("first-frame", tmp_path), said))
    assert rows == (Row("speed", 3.0, None, None, "ms", None, "low"),)
    assert said == ["measuring"]


async def _run(benchmark: bench.Benchmark, said: list[str]) -> tuple[Row, ...]:
    return await benchmark(3, said.append)


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


def test_the_machine_is_described() -> None:
    machine = bench.machine()
    assert machine.cores >= 1
    assert machine.memory_mib > 0
    assert machine.cpu
