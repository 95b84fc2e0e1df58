"""A sealed secret opens for its own key and account under a key that is here, and for nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.auth.seal import Seal, SealError

OLD, NEW = b"o" * 32, b"n" * 32
ID, ACCOUNT = "AKIAIOSFODNN7EXAMPLE", "000000000000"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@given(st.text(max_size=200), st.text("A7", max_size=20), st.text("01", max_size=12))
def test_what_was_closed_opens(secret: str, identity: str, account: str) -> None:
    seal = Seal([NEW])
    assert seal.open(seal.close(secret, identity, account), identity, account) == secret


def test_nothing_of_the_secret_shows_and_no_two_are_alike() -> None:
    seal = Seal([NEW])
    first, second = (seal.close(SECRET, ID, ACCOUNT) for _ in range(2))
    assert first != second
    assert SECRET not in first
    assert SECRET.encode() not in base64.b64decode(first.partition(".")[2])


@pytest.mark.parametrize(("identity", "account"), [(ID[:-1] + "F", ACCOUNT), (ID, "111111111111"), (ID + "\n0", "")])
def test_a_secret_put_in_the_place_of_another_does_not_open(identity: str, account: str) -> None:
    seal = Seal([NEW])
    with pytest.raises(SealError, match="was changed"):
        seal.open(seal.close(SECRET, ID, ACCOUNT), identity, account)


def test_each_changed_byte_is_seen() -> None:
    seal = Seal([NEW])
    kid, _, text = seal.close(SECRET, ID, ACCOUNT).partition(".")
    data = base64.b64decode(text)
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(SealError, match=ID):
            seal.open(f"{kid}.{base64.b64encode(changed).decode()}", ID, ACCOUNT)


def test_a_new_key_closes_and_the_old_one_still_opens() -> None:
    closed = Seal([OLD]).close(SECRET, ID, ACCOUNT)
    both = Seal([OLD, NEW])
    assert both.open(closed, ID, ACCOUNT) == SECRET
    assert Seal([NEW]).open(both.close(SECRET, ID, ACCOUNT), ID, ACCOUNT) == SECRET


def test_a_key_that_is_gone_is_named() -> None:
    closed = Seal([OLD]).close(SECRET, ID, ACCOUNT)
    with pytest.raises(SealError, match=rf"{ID} is sealed with the key {closed[:8]}, which is not here"):
        Seal([NEW]).open(closed, ID, ACCOUNT)


@pytest.mark.parametrize("text", ["", ".", "x", "AAAA", "AAA", "é", "A" * 40])
def test_text_that_was_never_sealed_is_refused(text: str) -> None:
    seal = Seal([NEW])
    kid = seal.close(SECRET, ID, ACCOUNT)[:8]
    for sealed in (text, f"{kid}.{text}"):
        with pytest.raises(SealError):
            seal.open(sealed, ID, ACCOUNT)


@pytest.mark.parametrize("keys", [[], [b""], [b"k" * 31], [NEW, b"k" * 33]])
def test_keys_of_another_length_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(SealError, match="32 bytes"):
        Seal(keys)


def test_a_seal_of_one_process_is_opened_by_no_other() -> None:
    closed = Seal.for_this_process().close(SECRET, ID, ACCOUNT)
    with pytest.raises(SealError):
        Seal.for_this_process().open(closed, ID, ACCOUNT)
