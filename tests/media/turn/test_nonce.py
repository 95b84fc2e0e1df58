"""Nonces: who may use one, how long, and what the cookie in front of them says."""

import base64

import pytest

from media.turn import mac, nonce
from media.turn.nonce import NONCE_BYTES, PASSWORD_ALGORITHMS_BIT, USERNAME_ANONYMITY_BIT, Nonces

CLIENT = ("203.0.113.5", 40000)
SECRET = bytes(range(32))
NONCES = Nonces(SECRET, PASSWORD_ALGORITHMS_BIT)


def test_nonce_is_the_cookie_and_an_hmac_over_features_slot_and_address() -> None:
    made = NONCES.make(*CLIENT, 10.0)
    assert made.startswith(b"obMatJos2AAABA")
    assert 24 <= len(made) == NONCE_BYTES <= 32
    assert mac.sha256(SECRET, b"obMatJos2AAABA 0 40000 203.0.113.5")[:9] == base64.b64decode(made[14:26])


@pytest.mark.parametrize(
    ("features", "encoded"),
    [
        (0, b"AAAA"),
        (PASSWORD_ALGORITHMS_BIT, b"AAAB"),
        (USERNAME_ANONYMITY_BIT, b"AAAC"),
        (PASSWORD_ALGORITHMS_BIT | USERNAME_ANONYMITY_BIT, b"AAAD"),
    ],
)
def test_cookie_tells_the_security_features_bit_0_last(features: int, encoded: bytes) -> None:
    made = Nonces(SECRET, features).make(*CLIENT, 0.0)
    assert made[:13] == b"obMatJos2" + encoded
    assert nonce.tells_password_algorithms(made) == bool(features & PASSWORD_ALGORITHMS_BIT)


@pytest.mark.parametrize(
    "other", [b"", b"obMatJos2AAA", b"obMatJos3AAAB", b"obMatJos2AAA\xff", b"obMatJos2AAA=", b"x" * 28]
)
def test_other_nonces_tell_nothing(other: bytes) -> None:
    assert not nonce.tells_password_algorithms(other)


def test_nonces_of_others_and_of_other_times_differ() -> None:
    made = NONCES.make(*CLIENT, 10.0)
    assert made == NONCES.make(*CLIENT, 1799.0)
    others = [
        NONCES.make("203.0.113.5", 40001, 10.0),
        NONCES.make("203.0.113.6", 40000, 10.0),
        NONCES.make(*CLIENT, 1800.0),
        NONCES.make(*CLIENT, 64 * 1800.0),
        Nonces(b"other", PASSWORD_ALGORITHMS_BIT).make(*CLIENT, 10.0),
        Nonces(SECRET, 0).make(*CLIENT, 10.0),
    ]
    assert len({made, *others}) == 7


@pytest.mark.parametrize("start", [0.0, 1800.0 * 63, 1800.0 * 64])
def test_nonce_is_good_in_its_slot_and_the_next(start: float) -> None:
    for made_at in (start, start + 1799.0):
        made = NONCES.make(*CLIENT, made_at)
        assert NONCES.is_fresh(made, CLIENT, start + 3599.0)
        assert not NONCES.is_fresh(made, CLIENT, start + 3600.0)
    assert not NONCES.is_fresh(NONCES.make(*CLIENT, start + 1800.0), CLIENT, start + 1799.0)


def test_nonce_with_any_byte_changed_is_stale() -> None:
    made = NONCES.make(*CLIENT, 0.0)
    for at in range(NONCE_BYTES):
        for bit in range(8):
            changed = bytearray(made)
            changed[at] ^= 1 << bit
            assert not NONCES.is_fresh(bytes(changed), CLIENT, 0.0)
    for other in (b"", made[:-1], made + b"A", b"\xff" * 700):
        assert not NONCES.is_fresh(other, CLIENT, 0.0)


def test_one_client_cannot_use_the_nonce_of_another() -> None:
    made = NONCES.make(*CLIENT, 0.0)
    assert not NONCES.is_fresh(made, ("203.0.113.5", 40001), 0.0)
    assert not NONCES.is_fresh(made, ("203.0.113.6", 40000), 0.0)
