"""The table of what tests measured: from any process, at the end of the run and as a file."""

import json
from pathlib import Path

import pytest

from tests.measured import Measurement, Row, summarize


class Report:
    def __init__(self, when: str, *properties: tuple[str, object]) -> None:
        self.when = when
        self.user_properties = properties


class Reporter:
    def __init__(self, *reports: Report) -> None:
        self.stats = {"passed": list(reports), "": [Report("teardown", *reports[0].user_properties)]}
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(f"={title}=")

    def write_line(self, line: str) -> None:
        self.lines.append(line)


def report(*tests: str, unaccounted: int = 0) -> Reporter:
    reports = []
    for test in tests:
        found: list[tuple[str, object]] = [("other", 1)]
        measure = Row(test, lambda name, value, found=found: found.append((name, json.loads(json.dumps(value)))))
        measure("free after", 2.345, goal=3.0)
        measure("unaccounted", unaccounted, "messages", goal=0)
        measure("slowest", 0.25)
        reports.append(Report("call", *found))
    return Reporter(*reports)


def test_rows_are_printed_by_name_with_their_goals(tmp_path: Path) -> None:
    reporter = report("test_redis_is_killed", "test_a_node_is_killed[the first]")
    summarize(reporter, None)  # type: ignore[arg-type]  # all that it needs of one
    assert reporter.lines == [
        "=measured=",
        "                             measured     value       goal",
        "a node is killed[the first]  free after   2.35 s      <= 3.00 s",
        "                             unaccounted  0 messages  <= 0 messages",
        "                             slowest      0.25 s",
        "redis is killed              free after   2.35 s      <= 3.00 s",
        "                             unaccounted  0 messages  <= 0 messages",
        "                             slowest      0.25 s",
        "0 of 4 goals missed",
    ]


def test_a_goal_that_was_missed_is_seen_in_its_row_and_counted() -> None:
    reporter = report("test_redis_is_killed", unaccounted=1)
    summarize(reporter, None)  # type: ignore[arg-type]
    assert reporter.lines == [
        "=measured=",
        "                 measured     value       goal",
        "redis is killed  free after   2.35 s      <= 3.00 s",
        "                 unaccounted  1 messages  <= 0 messages  missed",
        "                 slowest      0.25 s",
        "1 of 2 goals missed",
    ]


def test_without_a_goal_none_is_counted() -> None:
    found: list[tuple[str, object]] = []
    Row("test_it", lambda name, value: found.append((name, value)))("slowest", 0.25)
    reporter = Reporter(Report("call", *found))
    summarize(reporter, None)  # type: ignore[arg-type]
    assert reporter.lines == ["=measured=", "    measured  value   goal", "it  slowest   0.25 s"]


def test_values_are_written_as_they_are(tmp_path: Path) -> None:
    summarize(report("test_redis_is_killed"), tmp_path / "measured.json")  # type: ignore[arg-type]
    rows = json.loads((tmp_path / "measured.json").read_text())
    assert rows[0] == {"row": "redis is killed", "what": "free after", "value": 2.345, "unit": "s", "goal": 3.0}
    assert [Measurement(**row).goal for row in rows] == [3.0, 0, None]


@pytest.mark.parametrize("path", [None, "measured.json"])
def test_a_run_that_measured_nothing_prints_nothing(tmp_path: Path, path: str | None) -> None:
    reporter = Reporter(Report("call"))
    summarize(reporter, tmp_path / path if path else None)  # type: ignore[arg-type]
    assert reporter.lines == []
    assert path is None or json.loads((tmp_path / path).read_text()) == []
