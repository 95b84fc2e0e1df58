"""Access keys and revocations in one SQLite file that the service reads while the command line writes."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from channels.auth.grant import Statement
from channels.embedded.database import Schema, make_private, prepare, transact, translated
from channels.key_store import Changes, Cursor, KeyExistsError, Revocation, SealedKey
from channels.store import StoreUnavailableError

SCHEMA_VERSION = 1
# AUTOINCREMENT: a number is never given twice, so that whoever has read up to one has missed nothing below.
_SCHEMA = """
CREATE TABLE access_key (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  account TEXT NOT NULL,
  sealed TEXT NOT NULL,
  statements TEXT NOT NULL,
  description TEXT NOT NULL,
  created_s REAL NOT NULL
) STRICT;
CREATE TABLE revocation (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  credential_id TEXT NOT NULL UNIQUE,
  revoked_s REAL NOT NULL,
  forget_s REAL
) STRICT;
"""
_WHAT = "key store"
_INSERT = """
INSERT INTO access_key (id, account, sealed, statements, description, created_s) VALUES (?, ?, ?, ?, ?, ?)
"""
_COLUMNS = "k.id, k.account, k.sealed, k.statements, k.description, k.created_s, r.revoked_s"
_JOINED = f"SELECT {_COLUMNS} FROM access_key k LEFT JOIN revocation r ON r.credential_id = k.id"  # noqa: S608  # own text
_LIST = f"{_JOINED} WHERE ?1 IS NULL OR k.account = ?1 ORDER BY k.sequence"
_NEW_KEYS = f"{_JOINED} WHERE k.sequence > ? AND r.credential_id IS NULL ORDER BY k.sequence"
_REVOKE = "INSERT OR IGNORE INTO revocation (credential_id, revoked_s, forget_s) VALUES (?, ?, ?)"
_ERASE = "UPDATE access_key SET sealed = '' WHERE id = ?"
_FORGET = "DELETE FROM revocation WHERE forget_s < ?"
_REVOCATIONS = "SELECT credential_id, revoked_s, forget_s FROM revocation ORDER BY sequence"
_NEW_REVOCATIONS = "SELECT credential_id FROM revocation WHERE sequence > ? ORDER BY sequence"
_LAST = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Statement, ...]).decode


class SqliteKeyStore:
    """Key store in the file `path`, made with mode 0600, or in memory for `:memory:`.

    A call waits up to `timeout_s` for a lock of another process. It is short enough for the event loop: keys and
    revocations are written by people. Raises: StoreUnavailableError, from every method and from the constructor.
    """

    def __init__(self, path: Path | str, timeout_s: float = 2.0) -> None:
        self._path = str(path)
        self._own_writes = 0
        self._is_closed = False
        with translated(_WHAT, self._path):
            make_private(self._path)
            self._connection = sqlite3.connect(
                self._path, timeout=timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                prepare(self._connection, _WHAT, self._path, Schema(SCHEMA_VERSION, _SCHEMA))
            except BaseException:
                self._connection.close()
                raise

    def add(self, key: SealedKey) -> None:
        """Add a key. Raises: KeyExistsError."""
        statements = _encode(key.statements).decode()

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM access_key WHERE id = ?", (key.id,)).fetchone():
                raise KeyExistsError(f"there is an access key {key.id} already, perhaps a revoked one: take another id")
            row = (key.id, key.account, key.sealed, statements, key.description, key.created_s)
            connection.execute(_INSERT, row)

        self._write(work)

    def list(self, account: str | None = None) -> tuple[SealedKey, ...]:
        """All keys, or those of one account, in the order they were added; the revoked ones among them."""
        with self._available():
            return tuple(_key(row) for row in self._connection.execute(_LIST, (account,)))

    def revoke(self, credential_id: str, now_wall: float, forget_s: float | None = None) -> bool:
        """Note that a credential is no longer good, and erase its secret when it is a key; False when it was noted.

        Past `forget_s` (epoch seconds) it may be forgotten; None keeps it for ever.
        """
        revoked = 0

        def work(connection: sqlite3.Connection) -> None:
            nonlocal revoked
            connection.execute(_FORGET, (now_wall,))
            revoked = connection.execute(_REVOKE, (credential_id, now_wall, forget_s)).rowcount
            connection.execute(_ERASE, (credential_id,))

        self._write(work)
        return revoked > 0

    def revocations(self) -> tuple[Revocation, ...]:
        """All that was revoked and is not forgotten, in that order."""
        with self._available():
            return tuple(Revocation(*row) for row in self._connection.execute(_REVOCATIONS))

    def mark(self) -> object:
        """A value that is another one after every write, by whomever; cheap."""
        with self._available():
            (others,) = self._connection.execute("PRAGMA data_version").fetchone()
        return others, self._own_writes

    def read(self, cursor: Cursor) -> Changes:
        """What came after `cursor`."""
        with self._available():
            self._connection.execute("BEGIN")  # one state of the file for all four
            try:
                keys = tuple(_key(row) for row in self._connection.execute(_NEW_KEYS, (cursor.keys,)))
                revoked = tuple(text for (text,) in self._connection.execute(_NEW_REVOCATIONS, (cursor.revocations,)))
                return Changes(keys, revoked, Cursor(self._last("access_key"), self._last("revocation")))
            finally:
                self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file; may be called again."""
        self._is_closed = True
        self._connection.close()

    def _last(self, table: str) -> int:
        (last,) = self._connection.execute(_LAST, (table,)).fetchone()
        return int(last)

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        with self._available():
            transact(self._connection, work)
        self._own_writes += 1

    @contextmanager
    def _available(self) -> Iterator[None]:
        if self._is_closed:
            raise StoreUnavailableError(f"the {_WHAT} {self._path} is closed")
        with translated(_WHAT, self._path):
            yield


def _key(row: tuple[str, str, str, str, str, float, float | None]) -> SealedKey:
    """One whose statements somebody spoiled is given without a secret, as no key to sign with: the others are good."""
    identity, account, sealed, text, description, created_s, revoked_s = row
    try:
        statements = _decode(text)
    except msgspec.DecodeError:
        sealed, statements = "", ()
    return SealedKey(identity, account, sealed, statements, description, created_s, revoked_s)
