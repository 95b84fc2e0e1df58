"""What the SQLite files of this package have in common: private, WAL, synchronous FULL, one format number each."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from channels.store import StoreUnavailableError

MEMORY = ":memory:"


class Schema(msgspec.Struct, frozen=True):
    """The statements that make an empty file one of ours, and the number of this format (`PRAGMA user_version`)."""

    version: int
    statements: str


def make_private(path: str) -> None:
    """Make the file when it is not there, and close it to others."""
    if path != MEMORY:
        Path(path).touch(mode=0o600)
        Path(path).chmod(0o600)


@contextmanager
def translated(what: str, path: str) -> Iterator[None]:
    """Say in our own words, and with the file's name, why SQLite or the file system does not answer.

    Raises: StoreUnavailableError.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreUnavailableError(f"the {what} {path} is locked by another process") from error
        raise StoreUnavailableError(f"the {what} {path} cannot be used: {error}") from error


def prepare(connection: sqlite3.Connection, what: str, path: str, schema: Schema) -> None:
    """Set how the file is written, and make its tables when it is new. Raises: StoreUnavailableError, sqlite3.Error."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")

    def work(connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > schema.version:
            raise StoreUnavailableError(f"the {what} {path} was written by a newer release (format {version})")
        if version == 0:
            for statement in schema.statements.strip().split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {schema.version}")

    transact(connection, work)


def transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
    """Run `work` in a transaction that is written whole or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
