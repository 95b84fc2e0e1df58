"""What SQLite adds to the contract: a file that survives, a lock that is named, a queue with a bound."""

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels.channel import Channel
from channels.embedded import store as store_module
from channels.embedded.store import MEMORY, SqliteStore
from channels.errors import ResourceInUseException, ResourceNotFoundException
from channels.names import ChannelArn
from channels.store import StoreUnavailableError

ACCOUNT = "000000000000"
REGION = "us-west-2"


def channel(name: str) -> Channel:
    return Channel(ChannelArn("aws", REGION, ACCOUNT, name, 1700000000000), "v1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(path, timeout_s=10.0, pending_limit=4)
    yield made
    made.close()


async def test_channels_are_there_after_reopening(store: SqliteStore, path: Path) -> None:
    await store.create(channel("demo"), 10)
    store.close()
    again = SqliteStore(path)
    assert await again.get(channel("demo").arn) == channel("demo")
    again.close()


async def test_what_was_read_is_read_from_the_file_once(store: SqliteStore, path: Path) -> None:
    await store.create(channel("demo"), 10)
    first = await store.get(channel("demo").arn)
    with sqlite3.connect(path) as other:  # nobody else writes to the file: that is how one sees it
        other.execute("UPDATE channel SET version = 'v9'")
    assert await store.get(channel("demo").arn) is first
    with pytest.raises(ResourceNotFoundException):
        await store.replace(channel("other"), "v1")
    assert await store.get(channel("demo").arn) is first
    await store.delete(channel("demo").arn, "v9")
    assert await store.get(channel("demo").arn) is None


async def test_what_was_read_while_a_write_waited_is_not_remembered(store: SqliteStore, path: Path) -> None:
    await store.create(channel("demo"), 10)
    await store.get(channel("demo").arn)
    locked = sqlite3.connect(path, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    deleting = asyncio.create_task(store.delete(channel("demo").arn, "v1"))
    await asyncio.sleep(0)  # the writer waits for the lock
    assert await store.get(channel("demo").arn) is not None
    locked.execute("ROLLBACK")
    locked.close()
    await deleting
    assert await store.get(channel("demo").arn) is None


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_KNOWN_LIMIT", 2)
    store = SqliteStore(MEMORY)
    for name in ("a", "b", "c"):
        await store.create(channel(name), 10)
        assert await store.get(channel(name).arn) == channel(name)
    assert {name for _, _, name in store._known} == {"a", "c"}
    assert await store.get(channel("a").arn) == channel("a")
    store.close()


async def test_the_files_are_for_the_owner_alone(store: SqliteStore, path: Path) -> None:
    await store.create(channel("demo"), 10)
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_that_was_open_to_others_is_closed_to_them(path: Path) -> None:
    path.touch(mode=0o644)
    SqliteStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_journal_and_the_sync_are_those_that_survive_a_crash(store: SqliteStore) -> None:
    connection = store._writes
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("SELECT strict FROM pragma_table_list WHERE name = 'channel'").fetchone() == (1,)


async def test_a_lock_of_another_process_is_named_and_ends(store: SqliteStore, path: Path) -> None:
    await store.create(channel("demo"), 10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store._writes.execute("PRAGMA busy_timeout").fetchone() == (10_000,)
    store._writes.execute("PRAGMA busy_timeout = 100")
    with pytest.raises(StoreUnavailableError, match=r"catalog\.sqlite is locked by another process"):
        await store.create(channel("late"), 10)
    assert await store.get(channel("demo").arn) == channel("demo")  # readers go on
    assert store.stats.unavailable == 1
    other.execute("ROLLBACK")
    other.close()
    await store.create(channel("late"), 10)
    await store.check()


def log_bytes(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process grows beyond the log of this one while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes(path), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_told_from_the_first_write_that_failed_until_one_works(
    store: SqliteStore, path: Path
) -> None:
    await store.create(channel("demo"), 10)
    with full_disk(path):
        await store.check()
        with pytest.raises(StoreUnavailableError):
            await store.create(channel("other"), 10)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="cannot be used"):
                await store.check()
        assert await store.get(channel("demo").arn) == channel("demo")
    await store.check()
    size = log_bytes(path)
    await store.check()
    assert log_bytes(path) == size, "a check costs the disk something while all is well"


async def test_the_loop_goes_on_while_a_write_waits_for_a_lock(store: SqliteStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.create(channel("demo"), 10))
        for _ in range(5):
            await asyncio.sleep(0.005)
        assert not task.done(), "the lock was held up to the end of the wait: nothing else ran meanwhile"
        other.execute("ROLLBACK")
        await task
    other.close()


async def test_writes_over_the_bound_are_refused_and_counted(store: SqliteStore, path: Path) -> None:
    release = threading.Event()
    refused = 0

    async def create(number: int) -> None:
        nonlocal refused
        try:
            await store.create(channel(f"c{number}"), 100)
        except StoreUnavailableError:
            refused += 1
            if refused == 6:
                release.set()

    assert store._writer is not None
    store._writer.submit(release.wait)
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(create(number))
    assert (refused, store.stats.refused, store.stats.writes) == (6, 6, 4)


async def test_a_write_that_waited_too_long_is_not_done(store: SqliteStore) -> None:
    release = threading.Event()
    assert store._writer is not None
    store._writer.submit(release.wait)
    store._timeout_s = 0.01
    late = asyncio.ensure_future(store.create(channel("late"), 10))
    await asyncio.sleep(0.02)
    release.set()
    with pytest.raises(StoreUnavailableError, match="too busy"):
        await late
    assert await store.get(channel("late").arn) is None


async def test_a_refused_write_leaves_nothing_behind(store: SqliteStore) -> None:
    await store.create(channel("demo"), 10)
    with pytest.raises(ResourceInUseException):
        await store.create(channel("demo"), 10)
    assert not store._writes.in_transaction
    await store.create(channel("next"), 10)


@pytest.mark.parametrize("content", [b"this is not a database, however long it may be" * 40])
def test_a_file_of_another_kind_is_refused_by_name(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreUnavailableError, match=r"catalog\.sqlite"):
        SqliteStore(path)
    assert path.read_bytes() == content


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="missing"):
        SqliteStore(tmp_path / "missing" / "catalog.sqlite")


def test_a_catalog_of_a_newer_release_is_left_alone(path: Path) -> None:
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreUnavailableError, match="newer release"):
        SqliteStore(path)


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_after_closing_every_call_says_so(path: Path, where: str) -> None:
    store = SqliteStore(path if where == "file" else MEMORY)
    store.close()
    store.close()
    for call in (
        store.create(channel("demo"), 1),
        store.get(channel("demo").arn),
        store.list(ACCOUNT, REGION, "", "", 1),
        store.check(),
    ):
        with pytest.raises(StoreUnavailableError, match="is closed"):
            await call


async def test_two_catalogs_in_memory_know_nothing_of_each_other() -> None:
    one, other = SqliteStore(MEMORY), SqliteStore(MEMORY)
    await one.create(channel("demo"), 10)
    assert await other.get(channel("demo").arn) is None
    one.close()
    other.close()


CREATE_FOREVER = """
import asyncio, sys
from channels.channel import Channel
from channels.embedded import store as store_module
from channels.embedded.store import SqliteStore
from channels.names import ChannelArn

async def main():
    store = SqliteStore(sys.argv[1], timeout_s=60.0)  # however long a disk takes
    slots = asyncio.Semaphore(8)

    async def create(number):
        async with slots:
            name = f"c{number}"
            await store.create(Channel(ChannelArn("aws", "us-west-2", "0" * 12, name, number), "v1"), 10_000)
            print(name, flush=True)

    async with asyncio.TaskGroup() as group:
        for number in range(10_000):
            group.create_task(create(number))

asyncio.run(main())
"""


async def listed(store: SqliteStore) -> list[str]:
    await store.check()
    return [found.arn.name for found in (await store.list(ACCOUNT, REGION, "", "", 10_000)).channels]


@pytest.mark.faults
@pytest.mark.parametrize("acknowledged", [1, 137, 600])
def test_every_acknowledged_channel_survives_kill_9(path: Path, acknowledged: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CREATE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    names = [process.stdout.readline().strip() for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    names += process.stdout.read().split()  # acknowledged between our reading and the kill
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert acknowledged <= len(names) < 10_000, "the kill must fall in the middle"
    store = SqliteStore(path)
    assert set(names) <= set(asyncio.run(listed(store)))
    store.close()


async def test_every_channel_is_of_all_accounts_and_regions(store: SqliteStore) -> None:
    made = [
        Channel(ChannelArn("aws", region, account, name, 1700000000000), "v1", tags={"Größe": name})
        for account, region, name in (("0" * 12, "eu-west-1", "b"), (ACCOUNT, REGION, "a"), ("1" * 12, REGION, "a"))
    ]
    for each in reversed(made):
        await store.create(each, 10)
    assert list(store.every()) == made
    store.close()
    with pytest.raises(StoreUnavailableError, match="is closed"):
        next(store.every())
