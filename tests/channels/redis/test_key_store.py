"""What Redis adds to the contract of a key store: other processes, lost writes, and servers that are away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from channels.auth.grant import Statement
from channels.key_store import Cursor, SealedKey
from channels.redis.blocking import Blocking
from channels.redis.key_store import RedisKeyStore
from channels.store import StoreUnavailableError
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

KEY = SealedKey("AKIA1", "000000000000", "sealed", (Statement(("*",), ("*",)),), "", 1.0)


def opened(server: RedisServer, prefix: str) -> RedisKeyStore:
    return RedisKeyStore(Blocking(patient_settings(server.url)), prefix)


@pytest.fixture
def stores(redis_server: RedisServer, redis_prefix: str) -> Iterator[list[RedisKeyStore]]:
    both = [opened(redis_server, redis_prefix) for _ in range(2)]
    yield both
    for store in both:
        store.close()


def test_a_write_of_another_process_moves_the_mark_and_is_read(stores: list[RedisKeyStore]) -> None:
    one, other = stores
    before = one.mark()
    other.add(KEY)
    other.revoke("jti", 1.0)
    assert one.mark() != before
    changes = one.read(Cursor())
    assert (changes.keys, changes.revoked) == ((KEY,), ("jti",))


def test_a_revoked_secret_is_gone_from_the_server(
    stores: list[RedisKeyStore], redis_server: RedisServer, redis_prefix: str
) -> None:
    stores[0].add(KEY)
    stores[0].revoke(KEY.id, 2.0)
    assert redis_server.command("HGETALL", f"{redis_prefix}:{{access-keys}}:secrets") == []


def test_what_comes_after_lost_writes_is_missed_by_no_reader(
    stores: list[RedisKeyStore], redis_server: RedisServer, redis_prefix: str
) -> None:
    """A replica that took over, or an append-only file that lacks its last second, may not know the last numbers."""
    one, other = stores
    one.revoke("known", 1.0)
    seen = one.read(Cursor()).cursor
    names = redis_server.command("KEYS", f"{redis_prefix}:*")
    assert isinstance(names, list)
    redis_server.command("DEL", *(name for name in names if isinstance(name, bytes)))
    other.revoke("new", 2.0)
    assert one.read(seen).revoked == ("new",)


def test_a_record_that_somebody_spoiled_is_given_without_its_secret(
    stores: list[RedisKeyStore], redis_server: RedisServer, redis_prefix: str
) -> None:
    stores[0].add(KEY)
    redis_server.command("HSET", f"{redis_prefix}:{{access-keys}}:keys", KEY.id, "{")
    (found,) = stores[0].read(Cursor()).keys
    assert (found.id, found.sealed, found.statements) == (KEY.id, "", ())


def test_a_server_that_is_gone_is_told_and_found_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path, appendonly=True) as server:
        store = opened(server, "p")
        store.add(KEY)
        server.kill()
        for call in (store.mark, store.list, lambda: store.read(Cursor()), lambda: store.revoke("jti", 1.0)):
            with pytest.raises(StoreUnavailableError, match=f"redis://127.0.0.1:{server.port}"):
                call()
        server.start()
        assert store.list() == (KEY,)
        store.close()


def test_after_closing_every_call_says_so(stores: list[RedisKeyStore]) -> None:
    stores[0].close()
    stores[0].close()
    for call in (stores[0].mark, stores[0].list):
        with pytest.raises(StoreUnavailableError, match="is closed"):
            call()
