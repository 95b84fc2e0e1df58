"""Revoked credentials, by quota key and by holder, and the bound of what is remembered."""

import pytest

from media.turn import revocations
from media.turn.credential import Account
from media.turn.revocations import Revocations


def account(quota_key: bytes = b"red", *holders: bytes) -> Account:
    return Account("user", b"key", quota_key, 1e9, holders)


def test_key_and_holder_are_revoked_apart() -> None:
    subject = Revocations()
    subject.revoke(b"red")
    subject.revoke_holder(b"red-holder")
    assert subject.is_revoked(account())
    assert subject.is_revoked(account(b"blue", b"session", b"red-holder"))
    assert not subject.is_revoked(account(b"blue"))
    assert not subject.is_revoked(account(b"red-holder", b"red"))


def test_oldest_is_forgotten_and_one_that_is_said_again_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "REMEMBERED", 2)
    subject = Revocations()
    for key in (b"a", b"b", b"a", b"c"):
        subject.revoke(key)
    assert [subject.is_revoked(account(key)) for key in (b"a", b"b", b"c")] == [True, False, True]
