"""The STUN codec: strictness, integrity, round trips."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media.turn import mac, stun
from tests.media.turn.vectors import REQUEST

TRANSACTION = bytes(range(12))
UNWRITTEN = (stun.MESSAGE_INTEGRITY, stun.MESSAGE_INTEGRITY_SHA256, stun.FINGERPRINT)


def message(attributes: list[tuple[int, bytes]] | None = None, **fields: object) -> stun.Message:
    return stun.Message(stun.BINDING, stun.REQUEST, TRANSACTION, attributes or [], **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "empty"),
        (REQUEST[:19], "short header"),
        (REQUEST[:-4], "cut"),
        (REQUEST + bytes(4), "longer than it says"),
        (bytes.fromhex("000100022112a442") + TRANSACTION + b"ab", "length not a multiple of 4"),
        (bytes.fromhex("000100002112a443") + TRANSACTION, "cookie"),
        (bytes.fromhex("400100002112a442") + TRANSACTION, "top bits"),
        (bytes.fromhex("000100042112a442") + TRANSACTION + bytes.fromhex("00060004"), "attribute beyond the end"),
        (bytes.fromhex("000100042112a442") + TRANSACTION + bytes.fromhex("80280000"), "short fingerprint"),
        (bytes.fromhex("000100042112a442") + TRANSACTION + bytes.fromhex("00080000"), "short integrity"),
        (
            bytes.fromhex("000100102112a442") + TRANSACTION + bytes.fromhex("001c000c") + bytes(12),
            "12 bytes of SHA-256",
        ),
        (
            bytes.fromhex("000100182112a442") + TRANSACTION + bytes.fromhex("001c0012") + bytes(20),
            "18 bytes of SHA-256",
        ),
        (
            bytes.fromhex("000100282112a442") + TRANSACTION + bytes.fromhex("001c0024") + bytes(36),
            "36 bytes of SHA-256",
        ),
        (bytes.fromhex("000101042112a442") + TRANSACTION + bytes.fromhex("c0000000") * 65, "65 attributes"),
    ],
)
def test_malformed_datagram_is_refused(datagram: bytes, reason: str) -> None:
    with pytest.raises(stun.StunError):
        stun.decode(datagram)


def test_fingerprint_must_be_the_last_attribute() -> None:
    encoded = stun.encode(message(has_fingerprint=True))
    with pytest.raises(stun.StunError):
        stun.decode(longer(encoded, bytes.fromhex("c0000000")))


def test_first_of_two_equal_attributes_wins() -> None:
    decoded = stun.decode(stun.encode(message([(stun.USERNAME, b"one"), (stun.USERNAME, b"two")])))
    assert decoded.first(stun.USERNAME) == b"one"
    assert decoded.every(stun.USERNAME) == [b"one", b"two"]
    assert decoded.first(stun.REALM) is None


def test_attributes_behind_the_integrity_are_ignored() -> None:
    signed = stun.encode(message([(stun.USERNAME, b"one")]), b"key")
    extra = bytes.fromhex("000d000400000000")
    decoded = stun.decode(longer(signed, extra))
    assert decoded.attributes == [(stun.USERNAME, b"one")]
    assert stun.has_integrity(decoded, b"key")


def longer(datagram: bytes, extra: bytes) -> bytes:
    return datagram[:2] + (len(datagram) - 20 + len(extra)).to_bytes(2) + datagram[4:] + extra


def signed_twice(first: bytes, second: bytes, length: int = 32, between: bytes = b"") -> bytes:
    """MESSAGE-INTEGRITY, then MESSAGE-INTEGRITY-SHA256 cut to a length."""
    covered = longer(stun.encode(message([(stun.USERNAME, b"one")]), first), between)
    attribute = stun.MESSAGE_INTEGRITY_SHA256.to_bytes(2) + length.to_bytes(2)
    whole = longer(covered, attribute + bytes(length))
    return whole[:-length] + mac.sha256(second, whole[: len(covered)])[:length]


@pytest.mark.parametrize("length", [16, 20, 24, 28, 32])
def test_sha_256_behind_sha_1_decides_alone(length: int) -> None:
    decoded = stun.decode(signed_twice(b"old", b"new", length))
    assert (decoded.integrity_at, decoded.integrity_sha256_at) == (28, 52)
    assert stun.has_integrity(decoded, b"new")
    assert not stun.has_integrity(decoded, b"old")


def test_first_of_two_equal_integrities_counts() -> None:
    signed = stun.encode(message([(stun.USERNAME, b"one")]), b"key")
    decoded = stun.decode(longer(signed, bytes.fromhex("00080014") + bytes(20)))
    assert decoded.integrity_at == 28
    assert stun.has_integrity(decoded, b"key")


def test_sha_256_alone_is_signed_and_hides_what_follows() -> None:
    signed = stun.encode(message([(stun.USERNAME, b"one")]), b"key", is_sha256=True)
    assert len(signed) == 20 + 8 + 36
    with_more = longer(longer(signed, bytes.fromhex("000d000400000000")), bytes.fromhex("00080014") + bytes(20))
    for datagram in (signed, with_more):
        decoded = stun.decode(datagram)
        assert decoded.is_signed
        assert (decoded.attributes, decoded.integrity_at) == ([(stun.USERNAME, b"one")], -1)
        assert stun.has_integrity(decoded, b"key")
        assert not stun.has_integrity(decoded, b"keys")


def test_what_stands_between_both_integrities_is_ignored() -> None:
    decoded = stun.decode(signed_twice(b"key", b"key", between=bytes.fromhex("000d000400000000")))
    assert decoded.attributes == [(stun.USERNAME, b"one")]
    assert stun.has_integrity(decoded, b"key")


def test_both_integrities_may_stand_before_a_fingerprint() -> None:
    sent = message([(stun.USERNAME, b"one")], has_fingerprint=True)
    decoded = stun.decode(stun.encode(sent, b"key", is_sha256=True))
    assert decoded.has_fingerprint
    assert stun.has_integrity(decoded, b"key")


def test_keys_of_both_password_algorithms() -> None:
    assert stun.integrity_key("user", "realm", "pass").hex() == "8493fbc53ba582fb4c044c456bdc40eb"
    assert stun.integrity_key("user", "realm", "pass", stun.SHA256) == hashlib.sha256(b"user:realm:pass").digest()


def test_message_without_integrity_has_none() -> None:
    assert not stun.decode(stun.encode(message())).is_signed
    assert not stun.has_integrity(stun.decode(stun.encode(message())), b"key")


def test_unknown_types_are_named_once_and_optional_ones_never() -> None:
    decoded = stun.decode(stun.encode(message([(0x7777, b""), (0x0024, b""), (0x7777, b"x"), (0x8001, b"")])))
    assert decoded.unknown() == [0x7777, 0x0024]


def test_padding_is_zero() -> None:
    assert stun.encode(message([(stun.USERNAME, b"abcde")]))[-3:] == bytes(3)


@pytest.mark.parametrize(
    "value", ["", "0001", "0001a147e112a6", "0002a147e112a643", "0003a147e112a643", "0001a147" + "00" * 16]
)
def test_malformed_xor_address_is_refused(value: str) -> None:
    with pytest.raises(stun.StunError):
        stun.parse_xor_address(bytes.fromhex(value), TRANSACTION)


@pytest.mark.parametrize("value", [b"", b"\0\0\2\0", b"\0\0\7\0", b"\0\0\4\x64"])
def test_malformed_error_code_is_refused(value: bytes) -> None:
    with pytest.raises(stun.StunError):
        stun.parse_error_code(value)


def test_error_code_keeps_its_number() -> None:
    assert stun.parse_error_code(stun.error_code(438, "Stale Nonce")) == 438


@pytest.mark.parametrize("value", [b"", b"x" * 11, b"\xff\xfe"])
def test_text_that_is_empty_long_or_no_utf_8_is_refused(value: bytes) -> None:
    with pytest.raises(stun.StunError):
        stun.text(value, 10)


def test_text_is_read() -> None:
    assert stun.text("é".encode(), 2) == "é"


attributes = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(lambda key: key not in UNWRITTEN),
        st.binary(max_size=40),
    ),
    max_size=8,
)


@given(
    st.integers(0, 0xFFF),
    st.integers(0, 3),
    st.binary(min_size=12, max_size=12),
    attributes,
    st.booleans(),
    st.booleans(),
)
def test_what_is_written_is_read_again(
    method: int,
    kind: int,
    transaction_id: bytes,
    attributes: list[tuple[int, bytes]],
    has_fingerprint: bool,
    is_sha256: bool,
) -> None:
    sent = stun.Message(method, kind, transaction_id, attributes, has_fingerprint=has_fingerprint)
    decoded = stun.decode(stun.encode(sent, b"key", is_sha256=is_sha256))
    assert (decoded.method, decoded.kind, decoded.transaction_id) == (method, kind, transaction_id)
    assert (decoded.attributes, decoded.has_fingerprint) == (attributes, has_fingerprint)
    assert stun.has_integrity(decoded, b"key")


@given(st.binary(max_size=200), st.booleans())
@example(REQUEST, False)
def test_any_bytes_are_read_or_refused(body: bytes, is_framed: bool) -> None:
    if is_framed:
        body = body[: len(body) & ~3]
        body = bytes((0, 3)) + len(body).to_bytes(2) + bytes.fromhex("2112a442") + TRANSACTION + body
    try:
        decoded = stun.decode(body)
    except stun.StunError:
        return
    assert decoded.raw == body


@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), st.integers(0, 0xFFFF))
def test_xor_address_is_read_again(ip: bytes, port: int) -> None:
    assert stun.parse_xor_address(stun.xor_address(ip, port, TRANSACTION), TRANSACTION) == (ip, port)


@pytest.mark.parametrize("method", [stun.ALLOCATE, stun.REFRESH])
def test_answer_is_known_by_method_class_and_transaction(method: int) -> None:
    reply = stun.encode(stun.Message(method, stun.SUCCESS, b"transaction1", []))
    assert stun.is_answer(reply, method, b"transaction1")
    assert not stun.is_answer(reply, method, b"transaction2")
    assert not stun.is_answer(reply, stun.BINDING, b"transaction1")
    assert not stun.is_answer(
        stun.encode(stun.Message(method, stun.ERROR, b"transaction1", [])), method, b"transaction1"
    )
    assert not stun.is_answer(b"", method, b"")
