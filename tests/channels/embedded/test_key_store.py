"""What SQLite adds to the contract: a private file, another process that writes, a lock that is named."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from channels.auth.grant import Statement
from channels.embedded.key_store import SqliteKeyStore
from channels.key_store import Cursor, SealedKey
from channels.store import StoreUnavailableError

KEY = SealedKey("AKIA1", "000000000000", "sealed", (Statement(("*",), ("*",)),), "", 1.0)


def test_keys_and_revocations_are_there_after_reopening(key_store: SqliteKeyStore, key_file: Path) -> None:
    key_store.add(KEY)
    key_store.revoke("jti", 2.0)
    key_store.close()
    again = SqliteKeyStore(key_file)
    changes = again.read(Cursor())
    assert (changes.keys, changes.revoked) == ((KEY,), ("jti",))
    again.close()


def test_the_files_are_for_the_owner_alone(key_store: SqliteKeyStore, key_file: Path) -> None:
    key_store.add(KEY)
    files = list(key_file.parent.iterdir())
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_write_of_another_process_moves_the_mark(key_store: SqliteKeyStore, key_file: Path) -> None:
    before = key_store.mark()
    program = "import sys; from channels.embedded.key_store import SqliteKeyStore as S; S(sys.argv[1]).revoke('jti', 1)"
    subprocess.run([sys.executable, "-c", program, str(key_file)], check=True)
    assert key_store.mark() != before
    assert key_store.read(Cursor()).revoked == ("jti",)


def test_a_revoked_secret_is_gone_from_the_table(key_store: SqliteKeyStore, key_file: Path) -> None:
    key_store.add(KEY)
    key_store.revoke(KEY.id, 2.0)
    with sqlite3.connect(key_file) as connection:
        assert connection.execute("SELECT sealed FROM access_key").fetchall() == [("",)]
    connection.close()


def test_readers_go_on_while_another_process_writes_and_writers_are_told(
    key_store: SqliteKeyStore, key_file: Path
) -> None:
    key_store.add(KEY)
    other = sqlite3.connect(key_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert key_store.read(Cursor()).keys == (KEY,)
    assert key_store.list() == (KEY,)
    with pytest.raises(StoreUnavailableError, match=f"the key store {key_file} is locked by another process"):
        key_store.revoke("jti", 1.0)
    other.close()
    assert key_store.revoke("jti", 1.0)


def test_a_file_of_another_kind_is_refused_by_name(key_file: Path) -> None:
    key_file.write_text("no database " * 99)
    with pytest.raises(StoreUnavailableError, match=f"the key store {key_file} cannot be used: file is not a database"):
        SqliteKeyStore(key_file)


def test_a_key_store_of_a_newer_release_is_left_alone(key_file: Path) -> None:
    with sqlite3.connect(key_file) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreUnavailableError, match=r"was written by a newer release \(format 2\)"):
        SqliteKeyStore(key_file)


def test_after_closing_every_call_says_so(key_store: SqliteKeyStore, key_file: Path) -> None:
    key_store.close()
    key_store.close()
    calls = (
        key_store.list,
        key_store.mark,
        lambda: key_store.read(Cursor()),
        lambda: key_store.add(KEY),
        lambda: key_store.revoke("jti", 1.0),
    )
    for call in calls:
        with pytest.raises(StoreUnavailableError, match=f"the key store {key_file} is closed"):
            call()
