"""What tests measured, as one table at the end of the run, whichever process ran them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

PROPERTY: Final = "measured"


class Measurement(msgspec.Struct, frozen=True):
    """One value; `goal` is what it should not exceed, None where it only informs."""

    row: str
    what: str
    value: float
    unit: str = "s"
    goal: float | None = None

    @property
    def is_missed(self) -> bool:
        """Whether it exceeds its goal."""
        return self.goal is not None and self.value > self.goal


class Row:
    """The row of one test, which has the test's name."""

    def __init__(self, name: str, record: Callable[[str, object], None]) -> None:
        self._name = name.removeprefix("test_").replace("_", " ")
        self._record = record

    def __call__(self, what: str, value: float, unit: str = "s", *, goal: float | None = None) -> None:
        """Put a value into the table."""
        self._record(PROPERTY, list(msgspec.structs.astuple(Measurement(self._name, what, value, unit, goal))))


def found(reporter: pytest.TerminalReporter) -> Iterator[Measurement]:
    """What the tests of this run measured, in the order in which they ended."""
    for outcome in ("passed", "failed"):
        for report in reporter.stats.get(outcome, ()):
            if report.when == "call":
                for name, value in report.user_properties:
                    if name == PROPERTY:
                        yield Measurement(*value)


def summarize(reporter: pytest.TerminalReporter, path: Path | None) -> None:
    """Print the table with the goals that were missed, and write it to `path` as JSON."""
    rows = sorted(found(reporter), key=lambda each: each.row)
    if path is not None:
        path.write_text(json.dumps([msgspec.structs.asdict(each) for each in rows], indent=2) + "\n")
    if not rows:
        return
    reporter.section("measured")
    lines = [("", "measured", "value", "goal", "")]
    before = ""
    for each in rows:
        goal = "" if each.goal is None else f"<= {_text(each.goal, each.unit)}"
        name, missed = each.row if each.row != before else "", "missed" if each.is_missed else ""
        lines.append((name, each.what, _text(each.value, each.unit), goal, missed))
        before = each.row
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        reporter.write_line("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    goals = [each.is_missed for each in rows if each.goal is not None]
    if goals:
        reporter.write_line(f"{sum(goals)} of {len(goals)} goals missed")


def _text(value: float, unit: str) -> str:
    number = f"{value:.0f}" if value == int(value) and unit != "s" else f"{value:.2f}"
    return f"{number} {unit}".rstrip()
