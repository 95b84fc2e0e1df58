"""What SQLite adds to the contract: a private file, another process that writes, a lock that is named."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels.auth.grant import Statement
from channels.embedded.key_store import SqliteKeyStore
from channels.key_store import Cursor, SealedKey
from channels.store import StoreUnavailableError

KEY = SealedKey("AKIA1", "000000000000", "sealed", (Statement(("*",), ("*",)),), "", 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteKeyStore]:
    made = SqliteKeyStore(path, timeout_s=0.05)
    yield made
    made.close()


def test_keys_and_revocations_are_there_after_reopening(store: SqliteKeyStore, path: Path) -> None:
    store.add(KEY)
    store.revoke("jti", 2.0)
    store.close()
    again = SqliteKeyStore(path)
    changes = again.read(Cursor())
    assert (changes.keys, changes.revoked) == ((KEY,), ("jti",))
    again.close()


def test_the_files_are_for_the_owner_alone(store: SqliteKeyStore, path: Path) -> None:
    store.add(KEY)
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_write_of_another_process_moves_the_mark(store: SqliteKeyStore, path: Path) -> None:
    before = store.mark()
    program = "import sys; from channels.embedded.key_store import SqliteKeyStore as S; S(sys.argv[1]).revoke('jti', 1)"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert store.mark() != before
    assert store.read(Cursor()).revoked == ("jti",)


def test_a_revoked_secret_is_gone_from_the_table(store: SqliteKeyStore, path: Path) -> None:
    store.add(KEY)
    store.revoke(KEY.id, 2.0)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT sealed FROM access_key").fetchall() == [("",)]
    connection.close()


def test_readers_go_on_while_another_process_writes_and_writers_are_told(store: SqliteKeyStore, path: Path) -> None:
    store.add(KEY)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.read(Cursor()).keys == (KEY,)
    assert store.list() == (KEY,)
    with pytest.raises(StoreUnavailableError, match=f"the key store {path} is locked by another process"):
        store.revoke("jti", 1.0)
    other.close()
    assert store.revoke("jti", 1.0)


def test_a_file_of_another_kind_is_refused_by_name(path: Path) -> None:
    path.write_text("no database " * 99)
    with pytest.raises(StoreUnavailableError, match=f"the key store {path} cannot be used: file is not a database"):
        SqliteKeyStore(path)


def test_a_key_store_of_a_newer_release_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreUnavailableError, match=r"was written by a newer release \(format 2\)"):
        SqliteKeyStore(path)


def test_after_closing_every_call_says_so(store: SqliteKeyStore, path: Path) -> None:
    store.close()
    store.close()
    calls = (
        store.list,
        store.mark,
        lambda: store.read(Cursor()),
        lambda: store.add(KEY),
        lambda: store.revoke("jti", 1.0),
    )
    for call in calls:
        with pytest.raises(StoreUnavailableError, match=f"the key store {path} is closed"):
            call()
