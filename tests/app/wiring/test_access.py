import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app.settings import SettingsError
from app.wiring.access import AccessKeys, AccessOrder
from channels.auth import token
from channels.auth.grant import Statement
from channels.auth.key_ring import AccessKey

KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "000000000000", "s" * 40, (Statement(("*",), ("*",)),))
SIGNING = token.new_es256_key()


def opened(order: AccessOrder) -> AccessKeys:
    return AccessKeys(order, SIGNING, token.TokenSettings())


@pytest.fixture
def access() -> Iterator[AccessKeys]:
    made = opened(AccessOrder.in_memory())
    yield made
    made.close()


def test_a_folder_keeps_keys_and_what_opens_them(tmp_path: Path) -> None:
    first = opened(AccessOrder.in_folder(tmp_path))
    first.ring.add(KEY)
    first.close()
    again = opened(AccessOrder.in_folder(tmp_path))
    assert again.ring.find(KEY.id) == KEY
    again.close()
    again.close()
    assert {path.name for path in tmp_path.iterdir()} == {"keys.sqlite", "seal.key", "session-keys"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert not any(KEY.secret.encode() in path.read_bytes() for path in files)


def test_what_is_in_memory_is_shared_with_nobody(access: AccessKeys) -> None:
    access.ring.add(KEY)
    other = opened(AccessOrder.in_memory())
    assert other.ring.find(KEY.id) is None
    other.close()


def test_files_that_cannot_be_used_are_told_by_their_setting(tmp_path: Path) -> None:
    order = msgspec.structs.replace(AccessOrder.in_memory(), store=str(tmp_path))
    with pytest.raises(
        SettingsError, match=r"DATA_DIR: the key store .* cannot be used: .*; --data-dir or HELIOGRAPH_"
    ):
        opened(order)
    (tmp_path / "session-keys").mkdir(mode=0o700)
    (tmp_path / "session-keys" / "a.secret").write_text("short")
    (tmp_path / "session-keys" / "a.secret").chmod(0o600)
    with pytest.raises(SettingsError, match=r"DATA_DIR: the session keys cannot be used: .*32 bytes at least"):
        AccessOrder.in_folder(tmp_path)


async def test_a_revocation_is_told_and_logged_once(access: AccessKeys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        watching = group.create_task(access.watch(told.put_nowait, every_s=0.001))
        access.ring.revoke("a", 1.0)
        assert await told.get() == {"a"}
        access.ring.revoke("b", 1.0)
        assert await told.get() == {"b"}
        watching.cancel()
    logged = [record.__dict__["ids"] for record in caplog.records if record.message == "credentials revoked"]
    assert logged == [["a"], ["b"]]


async def test_a_store_that_cannot_be_read_is_logged_once(access: AccessKeys, caplog: pytest.LogCaptureFixture) -> None:
    access.close()
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        watching = group.create_task(access.watch(lambda ids: None, every_s=0.0))
        while access.ring.stats.unavailable < 3:  # noqa: ASYNC110  # three turns of the watch
            await asyncio.sleep(0)
        watching.cancel()
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.message == "access keys cannot be read"
    assert record.__dict__["reason"] == "the key store :memory: is closed"


def test_no_secret_shows(tmp_path: Path) -> None:
    order = AccessOrder.in_folder(tmp_path)
    assert order.seal_keys[0].hex() not in repr(order)
    assert (order.session_keys[0].private or b"").decode() not in repr(order)
