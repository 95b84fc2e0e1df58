"""Credentials on their own: the nonce, the cache of accounts."""

import hmac

import pytest

from media.turn import credential, stun
from media.turn.credential import CredentialError, Credentials, Keys

CLIENT = ("203.0.113.5", 40000)
SECRET = bytes(32)


class Book:
    """Finds keys and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def key_for(self, username: str) -> Keys | None:
        self.asked += 1
        return Keys(("pass " + username,), username[:1].encode(), 100.0)


def signed(credentials: Credentials, username: str, now: float = 0.0) -> stun.Message:
    nonce = credentials.nonce(*CLIENT, now).encode()
    attributes = [(stun.USERNAME, username.encode()), (stun.REALM, b"realm"), (stun.NONCE, nonce)]
    message = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), attributes)
    return stun.decode(stun.encode(message, stun.integrity_key(username, "realm", "pass " + username)))


def test_nonce_is_an_hmac_over_address_port_and_slot() -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    nonce = credentials.nonce(*CLIENT, 10.0)
    assert nonce == hmac.digest(SECRET, b"nonce 0 40000 203.0.113.5", "sha256").hex()[:28]
    assert nonce == credentials.nonce(*CLIENT, 1799.0)
    others = [("203.0.113.5", 40001, 10.0), ("203.0.113.6", 40000, 10.0), ("203.0.113.5", 40000, 1800.0)]
    assert all(credentials.nonce(*other) != nonce for other in others)
    assert Credentials(Book().key_for, "realm", b"other").nonce(*CLIENT, 10.0) != nonce


def test_account_is_remembered_only_after_it_proved_itself() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    good = signed(credentials, "ann")
    forged = stun.decode(good.raw[:-1] + bytes((good.raw[-1] ^ 1,)))
    for _ in range(3):
        with pytest.raises(CredentialError, match="wrong-integrity"):
            credentials.check(forged, CLIENT, 0.0, None)
    assert book.asked == 3
    account = credentials.check(good, CLIENT, 0.0, None)
    assert credentials.check(good, CLIENT, 0.0, None) == account
    assert (book.asked, account.username, account.quota_key) == (4, "ann", b"a")


def test_remembered_accounts_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential, "REMEMBERED_ACCOUNTS", 3)
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    for username in ("ann", "bob", "cat", "ann", "dan"):
        credentials.check(signed(credentials, username), CLIENT, 0.0, None)
    assert book.asked == 4
    credentials.check(signed(credentials, "ann"), CLIENT, 0.0, None)
    assert book.asked == 4
    credentials.check(signed(credentials, "bob"), CLIENT, 0.0, None)
    assert book.asked == 5


def test_forgotten_quota_key_is_asked_for_again() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    for username in ("ann", "bob"):
        credentials.check(signed(credentials, username), CLIENT, 0.0, None)
    credentials.forget(lambda account: account.quota_key == b"a")
    for username in ("ann", "bob"):
        credentials.check(signed(credentials, username), CLIENT, 0.0, None)
    assert book.asked == 3


def test_owner_needs_no_book_and_no_time_left() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    owner = credentials.check(signed(credentials, "ann"), CLIENT, 99.0, None)
    credentials.forget(lambda account: account.quota_key == b"a")
    late = signed(credentials, "ann", now=5000.0)
    assert credentials.check(late, CLIENT, 5000.0, owner) is owner
    assert book.asked == 1
    with pytest.raises(CredentialError, match="expired"):
        credentials.check(late, CLIENT, 5000.0, None)


def test_nonce_of_any_text_is_only_stale() -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    for nonce in ("", "é" * 10, "x" * 127):
        attributes = [(stun.USERNAME, b"ann"), (stun.REALM, b"realm"), (stun.NONCE, nonce.encode() or b"-")]
        message = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), attributes)
        with pytest.raises(CredentialError) as caught:
            credentials.check(stun.decode(stun.encode(message, b"key")), CLIENT, 0.0, None)
        assert caught.value.code == 438
