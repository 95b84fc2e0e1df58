"""HMAC by hand: the same as the standard library's."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from media.turn import mac


def test_rfc_2202_and_4231_vectors() -> None:
    key, data = b"Jefe", b"what do ya want for nothing?"
    assert mac.sha1(key, data).hex() == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    assert mac.sha256(key, data).hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_key_longer_than_a_block_is_hashed() -> None:
    # RFC 4231, 4.7
    data = b"Test Using Larger Than Block-Size Key - Hash Key First"
    expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    assert mac.sha256(b"\xaa" * 131, data).hex() == expected


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_any_key_and_data_give_what_the_standard_library_gives(key: bytes, data: bytes) -> None:
    assert mac.sha1(key, data) == hmac.digest(key, data, "sha1")
    assert mac.sha256(key, data) == hmac.digest(key, data, "sha256")


def test_values_are_compared_whole() -> None:
    assert mac.is_same(b"abc", b"abc")
    assert not mac.is_same(b"abc", b"abd")
    assert not mac.is_same(b"abc", b"ab")


def test_more_keys_than_are_remembered() -> None:
    keys = [b"%d" % number for number in range(2 * mac.REMEMBERED_KEYS)] * 2
    assert all(mac.sha1(key, b"data") == hmac.digest(key, b"data", "sha1") for key in keys)
