"""The catalog in one SQLite file: WAL, synchronous FULL, one writer thread.

A write is acknowledged after its commit. Reads of one row run where they are called: an indexed read is about twenty
times cheaper than a hop to a thread. A listing, which may be long, runs in a thread of its own. The file has one
process, so what was read is remembered until it is written.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from channels.channel import Channel, ChannelStatus, ChannelType
from channels.embedded.database import MEMORY as MEMORY
from channels.embedded.database import Schema, make_private, prepare, transact, translated
from channels.errors import (
    AccountChannelLimitExceededException,
    Limit,
    ResourceInUseException,
    ResourceNotFoundException,
    VersionMismatchException,
)
from channels.names import ChannelArn
from channels.store import Page, StoreUnavailableError

T = TypeVar("T")
_Key = tuple[str, str, str]
Row = tuple[str, str, str, str, int, str, int, str, str, str]

_WHAT = "catalog"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE channel (
  account TEXT NOT NULL,
  region TEXT NOT NULL,
  name TEXT NOT NULL,
  partition TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  version TEXT NOT NULL,
  message_ttl_s INTEGER NOT NULL,
  type TEXT NOT NULL,
  status TEXT NOT NULL,
  tags TEXT NOT NULL,
  PRIMARY KEY (account, region, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX channel_count ON channel (account, region);
"""
_COUNT = "SELECT count(*) FROM channel WHERE account = ? AND region = ?"
_SELECT = "SELECT * FROM channel WHERE account = ? AND region = ? AND name = ?"
_LIST = """
SELECT * FROM channel WHERE account = ? AND region = ? AND name >= ? AND name > ? AND name < ? ORDER BY name LIMIT ?
"""
_EVERY = "SELECT * FROM channel ORDER BY account, region, name"
_LAST = "SELECT * FROM channel ORDER BY account DESC, region DESC, name DESC LIMIT 1"
_INSERT = "INSERT INTO channel VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REPLACE = "REPLACE INTO channel VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM channel WHERE account = ? AND region = ? AND name = ?"
_SAME_AGAIN = f"PRAGMA user_version = {SCHEMA_VERSION}"  # writes a page
_AFTER_EVERY_NAME = "\U0010ffff"
_KNOWN_LIMIT = 100_000
_READ_TIMEOUT_S = 0.05  # on the loop; a reader waits only while another process repairs or locks the whole file

_encode_tags = msgspec.json.Encoder().encode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


class StoreStats(msgspec.Struct):
    """Plain counters: commits, and writes refused because too many waited or because the file was not available."""

    writes: int = 0
    refused: int = 0
    unavailable: int = 0


class SqliteStore:
    """Catalog of channels in the file `path`, made with mode 0600, or in memory for `:memory:`.

    A write waits up to `timeout_s` for the writer thread and as long again for a lock of another process; at most
    `pending_limit` writes wait at once. Raises: StoreUnavailableError, from every method and from the constructor.
    """

    def __init__(self, path: Path | str, timeout_s: float = 2.0, pending_limit: int = 1024) -> None:
        self.stats = StoreStats()
        self._path = str(path)
        self._timeout_s = timeout_s
        self._pending_limit = pending_limit
        self._pending = 0
        self._is_closed = False
        self._has_failed = False  # the last write
        self._known: dict[_Key, Channel] = {}
        self._writes_ended = 0
        with translated(_WHAT, self._path):
            make_private(self._path)
            self._writes = self._connect(timeout_s)
            try:
                prepare(self._writes, _WHAT, self._path, Schema(SCHEMA_VERSION, _SCHEMA))
            except BaseException:
                self._writes.close()
                raise
            # In memory there is one connection, hence one thread: nothing in it waits for a disk or a lock.
            is_shared = self._path == MEMORY
            self._reads = self._writes if is_shared else self._connect(_READ_TIMEOUT_S)
            self._listings = self._writes if is_shared else self._connect(timeout_s)
        self._writer = None if is_shared else ThreadPoolExecutor(1, thread_name_prefix="catalog-writer")
        self._lister = None if is_shared else ThreadPoolExecutor(1, thread_name_prefix="catalog-lister")

    async def create(self, channel: Channel, account_limit: int) -> None:
        """Add a channel. Raises: ResourceInUseException (name taken), AccountChannelLimitExceededException."""

        def work(connection: sqlite3.Connection) -> None:
            arn = channel.arn
            if _select(connection, arn.account, arn.region, arn.name) is not None:
                raise ResourceInUseException(f"a channel named {arn.name} exists already")
            (channels,) = connection.execute(_COUNT, (arn.account, arn.region)).fetchone()
            if channels >= account_limit:
                raise AccountChannelLimitExceededException(
                    f"the account holds {channels} channels in {arn.region}, as many as it may: delete one",
                    Limit("channels_per_account", account_limit),
                )
            connection.execute(_INSERT, _row(channel))

        await self._write(work, channel.arn)

    async def get(self, arn: ChannelArn) -> Channel | None:
        """The channel of exactly this incarnation."""
        channel = await self.get_by_name(arn.account, arn.region, arn.name)
        return channel if channel is not None and channel.arn == arn else None

    async def get_by_name(self, account: str, region: str, name: str) -> Channel | None:
        """The living channel of this name."""
        key = (account, region, name)
        known = self._known.get(key)
        if known is not None and not self._is_closed:
            return known
        writes_ended = self._writes_ended
        with self._available():
            found = _select(self._reads, account, region, name)
        if found is not None:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.popitem()  # the newest: when more than fit are read by turns, those that stay are found
            self._known[key] = found
            if writes_ended != self._writes_ended:  # it may be older than a write that ended meanwhile
                self._known.pop(key, None)
        return found

    async def list(self, account: str, region: str, prefix: str, after: str, limit: int) -> Page:
        """Up to `limit` channels in name order whose name begins with `prefix` and sorts after `after`."""
        arguments = (account, region, prefix, after, prefix + _AFTER_EVERY_NAME, limit + 1)

        def work() -> tuple[Channel, ...]:
            return tuple(map(_channel, self._listings.execute(_LIST, arguments)))

        with self._available():
            if self._lister is None:
                found = work()
            else:
                found = await asyncio.get_running_loop().run_in_executor(self._lister, work)
        return Page(found[:limit], found[limit - 1].arn.name if len(found) > limit else None)

    def every(self) -> Iterator[Channel]:
        """Yield the channels of all accounts and regions. Blocks: not for a service that runs."""
        with self._available():
            yield from map(_channel, self._listings.execute(_EVERY))

    def last(self) -> Channel | None:
        """The one that `every` yields last. Blocks."""
        with self._available():
            return next(map(_channel, self._listings.execute(_LAST)), None)

    async def replace(self, channel: Channel, expected_version: str) -> None:
        """Put a new state in the place of the version expected.

        Raises: ResourceNotFoundException, VersionMismatchException.
        """

        def work(connection: sqlite3.Connection) -> None:
            _require(connection, channel.arn, expected_version)
            connection.execute(_REPLACE, _row(channel))

        await self._write(work, channel.arn)

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        """Remove the channel. Raises: ResourceNotFoundException, VersionMismatchException."""

        def work(connection: sqlite3.Connection) -> None:
            _require(connection, arn, expected_version)
            connection.execute(_DELETE, (arn.account, arn.region, arn.name))

        await self._write(work, arn)

    async def check(self) -> None:
        """Prove that nobody keeps the catalog from being written and, once a write failed, that one works again.

        In a full disk all that was read before can be read; while all is well a check costs the disk nothing.
        """

        def work(connection: sqlite3.Connection) -> None:
            if self._has_failed:
                connection.execute(_SAME_AGAIN)

        await self._write(work)

    def close(self) -> None:
        """Let the writes that wait end, then close the file. Blocks; may be called again."""
        self._is_closed = True
        for executor in (self._writer, self._lister):
            if executor is not None:
                executor.shutdown()
        for connection in (self._listings, self._reads, self._writes):
            connection.close()

    def _connect(self, timeout_s: float) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=timeout_s, isolation_level=None, check_same_thread=False)

    async def _write(self, work: Callable[[sqlite3.Connection], None], arn: ChannelArn | None = None) -> None:
        """Run `work`, which changes `arn`, in a transaction of the writer thread and return once it is committed."""
        deadline = time.monotonic() + self._timeout_s

        def commit() -> None:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(f"the catalog {self._path} is too busy: a write waited {self._timeout_s} s")
            try:
                transact(self._writes, work)
                self._has_failed = False
            except (sqlite3.Error, OSError):
                self._has_failed = True
                raise
            finally:
                self._forget(arn)

        if self._pending >= self._pending_limit:
            self.stats.refused += 1
            raise StoreUnavailableError(f"the catalog {self._path} is too busy: {self._pending} writes are waiting")
        self._pending += 1
        try:
            with self._available():
                if self._writer is None:
                    commit()
                else:
                    await asyncio.get_running_loop().run_in_executor(self._writer, commit)
                self.stats.writes += 1
        finally:
            self._pending -= 1

    def _forget(self, arn: ChannelArn | None) -> None:
        """Called by the writer thread: a read that began before sees the count after it has remembered, or is late."""
        if arn is not None:
            self._writes_ended += 1
            self._known.pop((arn.account, arn.region, arn.name), None)

    @contextmanager
    def _available(self) -> Iterator[None]:
        if self._is_closed:
            raise StoreUnavailableError(f"the catalog {self._path} is closed")
        try:
            with translated(_WHAT, self._path):
                yield
        except StoreUnavailableError:
            self.stats.unavailable += 1
            raise


def _require(connection: sqlite3.Connection, arn: ChannelArn, expected_version: str | None) -> None:
    found = _select(connection, arn.account, arn.region, arn.name)
    if found is None or found.arn != arn:
        raise ResourceNotFoundException(f"there is no channel {arn}")
    if expected_version not in (None, found.version):
        raise VersionMismatchException("the channel has changed since: describe it again")


def _select(connection: sqlite3.Connection, account: str, region: str, name: str) -> Channel | None:
    row = connection.execute(_SELECT, (account, region, name)).fetchone()
    return None if row is None else _channel(row)


def _row(channel: Channel) -> Row:
    arn = channel.arn
    return (
        arn.account,
        arn.region,
        arn.name,
        arn.partition,
        arn.created_ms,
        channel.version,
        channel.message_ttl_s,
        channel.type.value,
        channel.status.value,
        _encode_tags(channel.tags).decode(),
    )


def _channel(row: Row) -> Channel:
    account, region, name, partition, created_ms, version, message_ttl_s, kind, status, tags = row
    return Channel(
        arn=ChannelArn(partition, region, account, name, created_ms),
        version=version,
        message_ttl_s=message_ttl_s,
        type=ChannelType(kind),
        status=ChannelStatus(status),
        tags=_decode_tags(tags),
    )
