"""The ring knows what the store knows: new keys at their first use, revocations at the next poll."""

import contextlib
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from channels.auth import key_ring
from channels.auth.grant import Grant, Statement, decide
from channels.auth.key_ring import AccessKey, AccessKeyError, KeyRing, Look
from channels.auth.seal import Seal
from channels.embedded.database import MEMORY
from channels.embedded.key_store import SqliteKeyStore
from channels.errors import UnrecognizedClientException
from channels.key_store import KeyExistsError
from channels.store import StoreUnavailableError

ACCOUNT = "000000000000"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", ACCOUNT, SECRET, (Statement(("kinesisvideo:*",), ("*",)),), "door", 1.0)
SESSION = Grant(
    "s",
    ACCOUNT,
    KEY.statements,
    100.0,
    token_id="ASIA1",
    key_id=KEY.id,
    credential_ids=("ASIA1", "parent", KEY.id),
)


@pytest.fixture
def ring(key_store: SqliteKeyStore) -> KeyRing:
    return KeyRing(key_store, Seal([b"k" * 32]))


@pytest.fixture
def other(key_file: Path) -> Iterator[KeyRing]:
    """The command line beside the service: another connection on the same file."""
    store = SqliteKeyStore(key_file)
    yield KeyRing(store, Seal([b"k" * 32]))
    store.close()


def test_an_added_key_is_found_whole(ring: KeyRing) -> None:
    ring.add(KEY)
    assert ring.find(KEY.id) == KEY
    assert len(ring) == 1


def test_a_key_that_another_process_made_is_found_at_its_first_use(ring: KeyRing, other: KeyRing) -> None:
    assert ring.find(KEY.id) is None
    other.add(KEY)
    assert ring.find(KEY.id) == KEY


def test_a_ring_over_an_old_store_has_its_keys_and_revocations(ring: KeyRing, key_store: SqliteKeyStore) -> None:
    ring.add(KEY)
    ring.revoke("jti", 1.0)
    again = KeyRing(key_store, Seal([b"k" * 32]))
    assert again.find(KEY.id) == KEY
    assert again.is_revoked("jti")
    assert again.poll() == frozenset()  # no news


def test_a_revocation_by_another_process_is_told_by_one_poll_and_once(ring: KeyRing, other: KeyRing) -> None:
    ring.add(KEY)
    other.revoke(KEY.id, 2.0)
    other.revoke("jti", 2.0)
    assert ring.poll() == {KEY.id, "jti"}
    assert ring.poll() == frozenset()
    assert ring.find(KEY.id) is None
    assert ring.is_revoked(KEY.id)


def test_a_revocation_seen_by_a_look_for_a_key_is_still_told(ring: KeyRing, other: KeyRing) -> None:
    other.revoke("jti", 2.0)
    ring.find("AKIAUNKNOWNUNKNOWNUN")
    assert ring.is_revoked("jti")
    assert ring.poll() == {"jti"}


def test_a_removed_key_is_told_by_its_id(ring: KeyRing, other: KeyRing) -> None:
    removed: list[str] = []
    ring.on_removed.append(removed.append)
    ring.add(KEY)
    other.revoke("jti", 2.0)
    other.revoke(KEY.id, 2.0)
    ring.poll()
    assert removed == [KEY.id]


def test_revoking_twice_is_said(ring: KeyRing) -> None:
    ring.add(KEY)
    assert ring.revoke(KEY.id, 2.0)
    assert not ring.revoke(KEY.id, 3.0)


def test_an_id_is_never_used_again(ring: KeyRing) -> None:
    ring.add(KEY)
    ring.revoke(KEY.id, 2.0)
    with pytest.raises(KeyExistsError):
        ring.add(KEY)


def test_sessions_are_forgotten_a_while_after_their_longest_life_and_other_tokens_never(
    ring: KeyRing, key_store: SqliteKeyStore
) -> None:
    ring.revoke("ASIA1", 0.0)
    ring.revoke("jti", 0.0)
    ring.revoke("later", 12 * 3600.0 + 60)
    assert KeyRing(key_store, Seal([b"k" * 32])).is_revoked("ASIA1")
    ring.revoke("much later", 24 * 3600.0 + 1)
    again = KeyRing(key_store, Seal([b"k" * 32]))
    assert [again.is_revoked(name) for name in ("ASIA1", "jti", "later", "much later")] == [False, True, True, True]


def test_the_store_is_read_only_when_it_changed(ring: KeyRing, key_store: SqliteKeyStore) -> None:
    statements: list[str] = []
    key_store._connection.set_trace_callback(statements.append)
    for _ in range(3):
        assert ring.find("AKIAUNKNOWNUNKNOWNUN") is None
        ring.poll()
    assert set(statements) == {"PRAGMA data_version"}
    assert ring.stats.unknown == 3


def test_a_known_key_and_a_revoked_one_cost_no_look_at_the_store(ring: KeyRing, key_store: SqliteKeyStore) -> None:
    ring.add(KEY)
    ring.revoke("AKIAREVOKEDREVOKEDRE", 1.0)
    statements: list[str] = []
    key_store._connection.set_trace_callback(statements.append)
    ring.find(KEY.id)
    ring.find("AKIAREVOKEDREVOKEDRE")
    ring.admit(KEY.grant())
    assert statements == []


def test_while_the_store_does_not_answer_what_was_read_stays_good(ring: KeyRing, key_store: SqliteKeyStore) -> None:
    ring.add(KEY)
    key_store.close()
    assert ring.find(KEY.id) == KEY
    assert ring.find("AKIAUNKNOWNUNKNOWNUN") is None
    assert ring.poll() == frozenset()
    assert ring.trouble is not None
    assert ring.trouble.endswith("is closed")
    assert ring.stats.unavailable == 2


class Unsteady(SqliteKeyStore):
    """A store that answers only while it is told to."""

    is_up = True

    def mark(self) -> object:
        if not self.is_up:
            raise StoreUnavailableError("the network is down")
        return super().mark()


def test_trouble_ends_with_the_next_answer_and_nothing_is_missed() -> None:
    store = Unsteady(MEMORY)
    ring = KeyRing(store, Seal([b"k" * 32]))
    store.is_up = False
    store.revoke("jti", 1.0)
    assert ring.poll() == frozenset()
    assert ring.trouble == "the network is down"
    store.is_up = True
    assert ring.poll() == {"jti"}
    assert ring.trouble is None
    store.close()


def test_a_remote_store_is_asked_by_looks_alone(ring: KeyRing, other: KeyRing, key_store: SqliteKeyStore) -> None:
    far = KeyRing(key_store, Seal([b"k" * 32]), is_remote=True)
    other.add(KEY)
    assert far.find(KEY.id) is None
    seen = far.look()
    assert far.find(KEY.id) is None
    assert far.poll(seen) == frozenset()
    assert far.find(KEY.id) == KEY
    other.revoke(KEY.id, 1.0)
    assert far.poll(far.look()) == {KEY.id}
    assert far.find(KEY.id) is None


def test_trouble_ends_when_a_store_that_did_not_change_answers_again(ring: KeyRing, key_store: SqliteKeyStore) -> None:
    seen = ring.look()
    ring.poll(Look(trouble="away"))
    assert ring.trouble == "away"
    ring.poll(seen)
    assert ring.trouble is None


def test_a_key_that_was_sealed_elsewhere_is_logged_and_not_found(
    ring: KeyRing, key_store: SqliteKeyStore, caplog: pytest.LogCaptureFixture
) -> None:
    ring.add(KEY)
    foreign = KeyRing(key_store, Seal([b"f" * 32]))
    assert foreign.find(KEY.id) is None
    assert foreign.stats.unsealable == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.__dict__["access_key_id"], record.message) == (KEY.id, "access key cannot be used")


def test_a_key_whose_row_is_spoiled_is_logged_and_the_others_go_on(
    ring: KeyRing, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring.add(KEY)
    with contextlib.closing(sqlite3.connect(key_file)) as connection, connection:
        connection.execute("UPDATE access_key SET statements = '[{]'")
    ring.add(msgspec.structs.replace(KEY, id="AKIAOTHEREXAMPLE0000"))
    with contextlib.closing(SqliteKeyStore(key_file)) as store:
        again = KeyRing(store, Seal([b"k" * 32]))
        assert (again.find(KEY.id), again.trouble) == (None, None)
        assert again.find("AKIAOTHEREXAMPLE0000") is not None
        assert [key.id for key in again.list()] == [KEY.id, "AKIAOTHEREXAMPLE0000"]
        assert again.revoke(KEY.id, 0.0)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.__dict__["access_key_id"], record.message) == (KEY.id, "access key cannot be used")


def test_the_grant_of_a_key_is_its_statements_in_its_account_without_end() -> None:
    grant = KEY.grant()
    assert (grant.subject, grant.account, grant.statements) == (f"key/{KEY.id}", ACCOUNT, KEY.statements)
    assert grant.expires_at == float("inf")
    assert grant.credential_ids == (KEY.id,)
    assert (grant.key_id, grant.token_id, grant.boundary) == (KEY.id, None, None)


def test_a_grant_without_credentials_is_admitted_as_it_is(ring: KeyRing) -> None:
    grant = Grant("s", ACCOUNT, (), 0.0)
    assert ring.admit(grant) is grant


@pytest.mark.parametrize("revoked", SESSION.credential_ids)
def test_a_session_ends_with_itself_and_with_all_it_came_from(ring: KeyRing, revoked: str) -> None:
    ring.add(KEY)
    ring.admit(SESSION)
    ring.revoke(revoked, 1.0)
    with pytest.raises(UnrecognizedClientException, match="was revoked"):
        ring.admit(SESSION)


def test_a_session_is_bounded_by_what_its_key_may_do(ring: KeyRing) -> None:
    ring.add(msgspec.structs.replace(KEY, statements=(Statement(("kinesisvideo:Get*",), ("*",)),)))
    grant = ring.admit(SESSION)
    assert decide(grant, "GetIceServerConfig", "*").is_allowed
    assert not decide(grant, "DeleteSignalingChannel", "*").is_allowed


def test_a_session_of_a_key_that_is_not_here_or_of_another_account_is_refused(ring: KeyRing) -> None:
    with pytest.raises(UnrecognizedClientException, match="not known here"):
        ring.admit(SESSION)
    ring.add(KEY)
    with pytest.raises(UnrecognizedClientException, match="another account"):
        ring.admit(msgspec.structs.replace(SESSION, account="111111111111"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": "AKIA"}, "16 to 128 characters"),
        ({"id": "akiaiosfodnn7example"}, "of A-Z and 0-9"),
        ({"id": "A" * 129}, "16 to 128 characters"),
        ({"id": "AKIAIOSFODNN7EXAMPLÉ"}, "of A-Z and 0-9"),
        ({"id": "AKIAIOSFODNN7EXAMPLE\n"}, "of A-Z and 0-9"),
        ({"id": "ASIAIOSFODNN7EXAMPLE"}, "ids of sessions begin with ASIA"),
        ({"secret": "short"}, "16 to 128 printable"),
        ({"secret": "with a space in the midst"}, "without spaces"),
        ({"secret": "s" * 129}, "16 to 128 printable"),
        ({"secret": SECRET + "\n"}, "without spaces"),
        ({"secret": "ö" * 20}, "printable ASCII"),
    ],
)
def test_forms_are_held_and_no_secret_is_told(ring: KeyRing, change: dict[str, str], sentence: str) -> None:
    with pytest.raises(AccessKeyError, match=sentence) as refused:
        ring.add(msgspec.structs.replace(KEY, **change))
    assert change.get("secret", "nothing") not in str(refused.value)
    assert len(ring) == 0


def test_new_ids_and_secrets_have_the_form_of_theirs_and_differ() -> None:
    identity = key_ring.new_id(key_ring.KEY_PREFIX)
    assert len(identity) == 20
    assert identity.startswith("AKIA")
    assert key_ring.parse_access_key_id(identity) == identity
    secret = key_ring.new_secret()
    assert len(secret) == 40
    assert key_ring.parse_secret(secret) == secret
    assert len({key_ring.new_secret() for _ in range(20)} | {key_ring.new_id("") for _ in range(20)}) == 40


def test_no_secret_shows(ring: KeyRing, key_store: SqliteKeyStore) -> None:
    ring.add(KEY)
    assert SECRET not in repr(KEY)
    assert "." not in repr(key_store.list()[0])


def test_a_ring_in_memory_needs_no_file() -> None:
    program = (
        "from channels.auth.key_ring import KeyRing; from channels.auth.seal import Seal;"
        "from channels.embedded.key_store import SqliteKeyStore;"
        "print(len(KeyRing(SqliteKeyStore(':memory:'), Seal.for_this_process())))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert KeyRing(SqliteKeyStore(MEMORY), Seal.for_this_process()).find("A") is None


def test_what_was_revoked_is_listed_the_newest_last(ring: KeyRing) -> None:
    for name in ("first", "second", "third"):
        ring.revoke(name, 1.0)
    assert ring.revoked(10) == ["first", "second", "third"]
    assert ring.revoked(2) == ["second", "third"]
