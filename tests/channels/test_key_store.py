"""The contract of a key store, held by every implementation."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from channels.auth.grant import Statement
from channels.embedded.database import MEMORY
from channels.embedded.key_store import SqliteKeyStore
from channels.key_store import Changes, Cursor, KeyExistsError, KeyStore, Revocation, SealedKey
from channels.redis.blocking import Blocking
from channels.redis.key_store import RedisKeyStore
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

ACCOUNT, OTHER = "000000000000", "111111111111"
STATEMENTS = (
    Statement(("kinesisvideo:*",), ("*",), sid="Größe"),
    Statement(("kinesisvideo:Delete*",), ("arn:*:channel/a/*", "arn:*:channel/b/*"), is_allowed=False),
)


def key(identity: str, account: str = ACCOUNT) -> SealedKey:
    return SealedKey(identity, account, f"sealed {identity}", STATEMENTS, "front door, 名前", 1700000000.25)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyStore]:
    made: SqliteKeyStore | RedisKeyStore
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        made = RedisKeyStore(Blocking(patient_settings(server.url)), request.getfixturevalue("redis_prefix"))
    else:
        made = SqliteKeyStore(MEMORY if request.param == "memory" else tmp_path / "keys.sqlite")
    yield made
    made.close()


def test_an_added_key_is_listed_and_read_as_it_was(store: KeyStore) -> None:
    store.add(key("AKIA1"))
    assert store.list() == (key("AKIA1"),)
    assert store.read(Cursor()).keys == (key("AKIA1"),)


def test_a_listing_is_in_the_order_of_adding_and_of_one_account_when_asked(store: KeyStore) -> None:
    for identity, account in (("B", ACCOUNT), ("A", OTHER), ("C", ACCOUNT)):
        store.add(key(identity, account))
    assert [found.id for found in store.list()] == ["B", "A", "C"]
    assert [found.id for found in store.list(ACCOUNT)] == ["B", "C"]
    assert store.list("2" * 12) == ()


@pytest.mark.parametrize("account", [ACCOUNT, OTHER])
def test_an_id_is_taken_once_in_all_accounts_and_for_ever(store: KeyStore, account: str) -> None:
    store.add(key("AKIA1"))
    with pytest.raises(KeyExistsError, match="AKIA1"):
        store.add(key("AKIA1", account))
    store.revoke("AKIA1", 1700000001.0)
    with pytest.raises(KeyExistsError, match="AKIA1"):
        store.add(key("AKIA1", account))


def test_a_revoked_key_is_listed_without_its_secret_and_read_no_more(store: KeyStore) -> None:
    store.add(key("AKIA1"))
    store.add(key("AKIA2"))
    assert store.revoke("AKIA1", 1700000001.5)
    assert store.list()[0] == msgspec.structs.replace(key("AKIA1"), sealed="", revoked_s=1700000001.5)
    changes = store.read(Cursor())
    assert changes.keys == (key("AKIA2"),)
    assert changes.revoked == ("AKIA1",)


def test_whatever_is_no_key_may_be_revoked_too_and_once(store: KeyStore) -> None:
    assert store.revoke("a token's jti", 1.0)
    assert not store.revoke("a token's jti", 2.0)
    assert store.read(Cursor()).revoked == ("a token's jti",)
    assert store.list() == ()


def test_a_reader_sees_each_change_once(store: KeyStore) -> None:
    store.add(key("AKIA1"))
    first = store.read(Cursor())
    assert store.read(first.cursor) == Changes((), (), first.cursor)
    store.add(key("AKIA2"))
    store.revoke("AKIA1", 1.0)
    second = store.read(first.cursor)
    assert (second.keys, second.revoked) == ((key("AKIA2"),), ("AKIA1",))
    assert store.read(second.cursor) == Changes((), (), second.cursor)


def test_the_mark_moves_with_each_write_and_stays_between(store: KeyStore) -> None:
    marks = [store.mark(), store.mark()]
    store.add(key("AKIA1"))
    marks += [store.mark(), store.mark()]
    store.revoke("AKIA1", 1.0)
    marks += [store.mark(), store.mark()]
    store.read(Cursor())
    assert store.mark() == marks[-1]
    assert [marks.index(mark) for mark in marks] == [0, 0, 2, 2, 4, 4]


def test_a_revocation_past_its_time_is_forgotten_and_missed_by_no_reader(store: KeyStore) -> None:
    store.revoke("short", 10.0, forget_s=20.0)
    store.revoke("ever", 10.0)
    seen = store.read(Cursor())
    store.revoke("next", 20.0)
    assert store.read(Cursor()).revoked == ("short", "ever", "next")
    store.revoke("last", 21.0)
    assert store.read(Cursor()).revoked == ("ever", "next", "last")
    assert store.read(seen.cursor).revoked == ("next", "last")


def test_revocations_are_told_with_their_times_in_their_order(store: KeyStore) -> None:
    store.add(key("AKIA1"))
    store.revoke("a token's jti", 1700000000.123456)
    store.revoke("AKIA1", 1700000001.5)
    store.revoke("ASIA1", 1700000002.0, forget_s=1700086402.654321)
    assert store.revocations() == (
        Revocation("a token's jti", 1700000000.123456),
        Revocation("AKIA1", 1700000001.5),
        Revocation("ASIA1", 1700000002.0, 1700086402.654321),
    )
    store.revoke("later", 1700086403.0)
    assert [each.credential_id for each in store.revocations()] == ["a token's jti", "AKIA1", "later"]
