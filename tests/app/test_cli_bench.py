import argparse
import json
from pathlib import Path

import pytest

from app import bench, cli, cli_bench
from app.exits import CommandError
from app.settings import load

BENCHMARK = """
from app.bench import Ratio, Row
async def run(runs, progress):
    progress("run 1")
    first = Row("speed", 2.0, 4.0, "other", "ms", Ratio(0.5, 0.5, 0.5), "under 1")
    return (first, Row("size", 1.0, None, None, "KiB", None, "low"))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tests" / "benchmarks"
    path.mkdir(parents=True)
    (path / "first_frame.py").write_text(BENCHMARK)
    find = bench.find
    monkeypatch.setattr(bench, "find", lambda name: find(name, path))
    return path


@pytest.mark.usefixtures("folder")
def test_json_has_the_documented_form_and_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(bench="first-frame", runs=2, json=True)
    assert cli_bench.run(arguments, load({}, {})) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert told.err == "run 1\n"
    assert list(answer) == ["bench", "machine", "runs", "rows"]
    assert (answer["bench"], answer["runs"]) == ("first-frame", 2)
    assert set(answer["rows"][0]) >= {"name", "ours", "peer", "peer_name", "unit", "ratio", "goal"}
    assert answer["rows"][0]["ratio"] == {"min": 0.5, "median": 0.5, "max": 0.5}
    assert (answer["rows"][1]["peer"], answer["rows"][1]["peer_name"], answer["rows"][1]["ratio"]) == (None, None, None)


@pytest.mark.usefixtures("folder")
def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(bench="first-frame", runs=1, json=False)
    cli_bench.run(arguments, load({}, {}))
    assert capsys.readouterr().out.splitlines()[2].split()[:4] == ["speed", "2", "4", "(other)"]


def test_the_command_line_chooses_rows_and_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speed.py").write_text(
        """
from app.bench import Row
ROWS = ("speed", "size", "weight")
async def run(runs, progress, *, rows, seconds):
    return tuple(Row(name, seconds, None, None, "ms", None, "low") for name in rows)
"""
    )
    find = bench.find
    monkeypatch.setattr(bench, "find", lambda name: find(name, tmp_path))
    assert cli.main(["bench", "speed", "--rows", "size,weight", "--seconds", "0.5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["name"], row["ours"]) for row in rows] == [("size", 0.5), ("weight", 0.5)]


@pytest.mark.usefixtures("folder")
def test_an_option_that_the_benchmark_has_not_is_refused() -> None:
    with pytest.raises(CommandError, match="bench first-frame has no option --cameras"):
        cli_bench.run(argparse.Namespace(bench="first-frame", runs=1, json=False, cameras=5), load({}, {}))
