"""The NAT matrix as a table: what was tried between which NATs, what was expected and what was seen."""

import json
from typing import Any

import msgspec
import pytest

KEY = "netns"
HEAD = ("A", "B", "servers", "expected", "seen", "seconds")


class Line(msgspec.Struct, frozen=True):
    """One case; `order` is its place in the table."""

    order: int
    a: str
    b: str
    servers: str
    expected: str
    seen: str
    seconds: float

    def cells(self) -> tuple[str, ...]:
        """Return the cells under `HEAD`."""
        return (self.a, self.b, self.servers, self.expected, self.seen, f"{self.seconds:.2f}")


class Matrix:
    """Collects lines from the reports of tests (so that it works with workers, too) and prints them at the end."""

    def __init__(self) -> None:
        self._lines: dict[Line, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the lines of a test that ran."""
        if report.when != "call":
            return
        for key, noted in report.user_properties:
            if key == KEY:
                line = msgspec.json.decode(str(noted), type=Line)
                self._lines[line] = "" if report.passed else " FAILED"

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table; programs find it in .pytest_cache/v/netns/matrix."""
        lines = sorted(self._lines, key=lambda line: (line.order, line.cells()))
        if not lines:
            return
        if getattr(config, "cache", None) is not None:  # switched off by -p no:cacheprovider
            config.cache.set("netns/matrix", [dict(zip(HEAD, line.cells(), strict=True)) for line in lines])
        write = terminalreporter.write_line
        terminalreporter.section("NAT matrix")
        write(f"| {' | '.join(HEAD)} |")
        write("|---" * len(HEAD) + "|")
        for line in lines:
            write(f"| {' | '.join(line.cells())} |{self._lines[line]}")


def note(request: pytest.FixtureRequest, line: Line) -> None:
    """Put a line into the table."""
    request.node.user_properties.append((KEY, json.dumps(msgspec.to_builtins(line))))
