"""The interop tables: which stock client made which call, what was answered, and whether its tests passed."""

import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.kvs import Kvs, Observe, serving

KEY, TOOLS_KEY = "interop", "tools"
Note = Callable[[str, str, str], None]
NoteTool = Callable[..., None]
Row = tuple[str, str]


class InteropTable:
    """Collects what tests noted, from their reports (so that it works with workers, too)."""

    def __init__(self) -> None:
        self._answers: dict[Row, set[str]] = {}
        self._tests: dict[Row, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for key, noted in report.user_properties if report.when == "teardown" or report.failed else ():
            if key != KEY:
                continue
            client, operation, answer = json.loads(str(noted))
            row = (client, operation)
            self._answers.setdefault(row, set()).add(answer)
            before = self._tests.setdefault(row, {}).get(report.nodeid)
            self._tests[row][report.nodeid] = "failed" if report.failed or before == "failed" else "passed"

    def rows(self) -> list[dict[str, Any]]:
        """One row per client and operation: `{client, operation, answers, passed, failed}`."""
        return [
            {
                "client": client,
                "operation": operation,
                "answers": sorted(answers),
                "passed": sum(outcome == "passed" for outcome in self._tests[client, operation].values()),
                "failed": sum(outcome == "failed" for outcome in self._tests[client, operation].values()),
            }
            for (client, operation), answers in sorted(self._answers.items())
        ]

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        rows = self.rows()
        if not rows:
            return
        if getattr(config, "cache", None) is not None:  # switched off by -p no:cacheprovider
            config.cache.set("interop/table", rows)  # .pytest_cache/v/interop/table, for programs
        write = terminalreporter.write_line
        terminalreporter.section("interop table")
        write("| client | operation | answers | tests passed | failed |")
        write("|---|---|---|---|---|")
        for row in rows:
            answers = "; ".join(row["answers"])
            write(f"| {row['client']} | {row['operation']} | {answers} | {row['passed']} | {row['failed']} |")


class ToolsTable:
    """What each option of coturn's client tools lost, from the reports of the tests that ran them."""

    def __init__(self) -> None:
        self._rows: dict[Row, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for key, noted in report.user_properties if report.when == "teardown" or report.failed else ():
            if key != TOOLS_KEY:
                continue
            option, case, lost, code, result = json.loads(str(noted))
            before = self._rows.get((option, case))
            is_failed = report.failed or (before is not None and before[-1] == "failed")
            shown = "-" if lost is None else str(lost)
            self._rows[option, case] = [option, case, shown, str(code), "failed" if is_failed else result]

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        if not self._rows:
            return
        rows = [self._rows[key] for key in sorted(self._rows)]
        if getattr(config, "cache", None) is not None:
            config.cache.set("interop/tools", rows)  # .pytest_cache/v/interop/tools, for programs
        write = terminalreporter.write_line
        terminalreporter.section("coturn's tools")
        write("| option | case | lost packets | exit code | result |")
        write("|---|---|---|---|---|")
        for row in rows:
            write(f"| {' | '.join(row)} |")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(InteropTable(), "interop-table")
    config.pluginmanager.register(ToolsTable(), "tools-table")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Write into the interop table that a client made a call: `note(client, operation, answer)`."""

    def write(client: str, operation: str, answer: str) -> None:
        entry = (KEY, json.dumps([client, operation, answer]))
        if entry not in request.node.user_properties:
            request.node.user_properties.append(entry)

    return write


@pytest.fixture
def note_tool(request: pytest.FixtureRequest) -> NoteTool:
    """Write a row of coturn's tools: `note_tool(option, case, lost packets or None, exit code, result)`."""

    def write(option: str, case: str, lost: int | None, code: int, result: str = "passed") -> None:
        request.node.user_properties.append((TOOLS_KEY, json.dumps([option, case, lost, code, result])))

    return write


@pytest.fixture(scope="module")
def kvs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kvs]:
    """A service with TLS and access keys; AWS clients of this process trust it and know no other settings."""
    home = tmp_path_factory.mktemp("kvs")
    with serving(home) as service, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in service.client_settings(home).items():
            patch.setenv(name, value)
        yield service
        service.assert_quiet()


@pytest.fixture
def boto3_observed(note: Note) -> Observe:
    """Notes what boto3 was answered."""
    client = f"boto3 {importlib.metadata.version('boto3')}"
    return lambda operation, answer: note(client, operation, answer)
