"""A file becomes one of ours whole or not at all."""

import sqlite3
from pathlib import Path

import pytest

from channels.embedded.database import MEMORY, Schema, make_private, prepare, transact, translated
from channels.store import StoreUnavailableError

SCHEMA = Schema(3, "CREATE TABLE a (x INTEGER) STRICT;\nCREATE TABLE b (y INTEGER) STRICT;\n")


def test_a_new_file_gets_its_tables_and_its_number_once(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    for _ in range(2):
        connection = sqlite3.connect(path, isolation_level=None)
        prepare(connection, "thing", str(path), SCHEMA)
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone() == (2,)
        connection.close()


def test_tables_that_fail_leave_an_empty_file() -> None:
    connection = sqlite3.connect(MEMORY, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        prepare(connection, "thing", MEMORY, Schema(1, "CREATE TABLE a (x INTEGER);\nCREATE NONSENSE;\n"))
    assert connection.execute("SELECT * FROM sqlite_schema").fetchall() == []
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()


def test_a_transaction_that_fails_is_undone() -> None:
    connection = sqlite3.connect(MEMORY, isolation_level=None)
    prepare(connection, "thing", MEMORY, SCHEMA)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO a VALUES (1)")
        raise KeyError

    with pytest.raises(KeyError):
        transact(connection, work)
    assert connection.execute("SELECT * FROM a").fetchall() == []
    connection.close()


def test_a_file_is_made_private_and_memory_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_private("x.sqlite")
    make_private(MEMORY)
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("x.sqlite", 0o600)]


def test_errors_say_what_and_which_file(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreUnavailableError, match=r"the thing /x/y cannot be used: .*No such file"),
        translated("thing", "/x/y"),
    ):
        make_private(str(tmp_path / "nowhere" / "x.sqlite"))
