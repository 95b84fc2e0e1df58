"""The STUN codec: vectors of RFC 5769, strictness, round trips."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media.turn import address, stun

SHORT_TERM_KEY = b"VOkJxbRl1RmTxUk/WvJxBt"
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
IPV4_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
IPV6_RESPONSE = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
LONG_TERM_REQUEST = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
    "0014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)

TRANSACTION = bytes(range(12))


def message(attributes: list[tuple[int, bytes]] | None = None, **fields: object) -> stun.Message:
    return stun.Message(stun.BINDING, stun.REQUEST, TRANSACTION, attributes or [], **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", [REQUEST, IPV4_RESPONSE, IPV6_RESPONSE])
def test_rfc_5769_short_term_vectors_have_integrity_and_fingerprint(vector: bytes) -> None:
    decoded = stun.decode(vector)
    assert decoded.has_fingerprint
    assert stun.has_integrity(decoded, SHORT_TERM_KEY)
    assert not stun.has_integrity(decoded, SHORT_TERM_KEY + b"x")


def test_rfc_5769_request_is_read() -> None:
    decoded = stun.decode(REQUEST)
    assert (decoded.method, decoded.kind) == (stun.BINDING, stun.REQUEST)
    assert decoded.first(stun.SOFTWARE) == b"STUN test client"
    assert decoded.first(stun.USERNAME) == b"evtj:h6vY"
    assert decoded.unknown() == [0x0024]


@pytest.mark.parametrize(
    ("vector", "host"), [(IPV4_RESPONSE, "192.0.2.1"), (IPV6_RESPONSE, "2001:db8:1234:5678:11:2233:4455:6677")]
)
def test_rfc_5769_responses_carry_the_mapped_address(vector: bytes, host: str) -> None:
    decoded = stun.decode(vector)
    value = decoded.first(stun.XOR_MAPPED_ADDRESS)
    assert value is not None
    assert decoded.kind == stun.SUCCESS
    assert stun.parse_xor_address(value, decoded.transaction_id) == (address.pack(host), 32853)
    assert stun.xor_address(address.pack(host), 32853, decoded.transaction_id) == value


def test_rfc_5769_long_term_request_has_integrity() -> None:
    decoded = stun.decode(LONG_TERM_REQUEST)
    username = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    assert stun.has_integrity(decoded, stun.integrity_key(username, "example.org", "TheMatrIX"))
    assert not stun.has_integrity(decoded, stun.integrity_key(username, "example.org", "TheMatrix"))


def test_ipv4_response_is_written_byte_for_byte() -> None:
    decoded = stun.decode(REQUEST[:20].replace(b"\x00\x58", b"\x00\x00"))
    reply = stun.Message(
        stun.BINDING,
        stun.SUCCESS,
        decoded.transaction_id,
        [(stun.XOR_MAPPED_ADDRESS, stun.xor_address(address.pack("192.0.2.1"), 32853, decoded.transaction_id))],
    )
    assert stun.encode(reply) == bytes.fromhex("0101000c2112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643")


@pytest.mark.parametrize("at", [at for at in range(len(REQUEST)) if at not in (100, 101)])
def test_every_flipped_bit_under_the_fingerprint_is_noticed(at: int) -> None:
    broken = bytearray(REQUEST)
    broken[at] ^= 1
    with pytest.raises(stun.StunError):
        stun.decode(bytes(broken))


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
        (bytes.fromhex("000101042112a442") + TRANSACTION + bytes.fromhex("c0000000") * 65, "65 attributes"),
    ],
)
def test_malformed_datagram_is_refused(datagram: bytes, reason: str) -> None:
    with pytest.raises(stun.StunError):
        stun.decode(datagram)


def test_fingerprint_must_be_the_last_attribute() -> None:
    encoded = stun.encode(message(has_fingerprint=True))
    longer = bytes((0, 1, 0, 12)) + encoded[4:] + bytes.fromhex("c0000000")
    with pytest.raises(stun.StunError):
        stun.decode(longer)


def test_first_of_two_equal_attributes_wins() -> None:
    decoded = stun.decode(stun.encode(message([(stun.USERNAME, b"one"), (stun.USERNAME, b"two")])))
    assert decoded.first(stun.USERNAME) == b"one"
    assert decoded.every(stun.USERNAME) == [b"one", b"two"]
    assert decoded.first(stun.REALM) is None


def test_attributes_behind_the_integrity_are_ignored() -> None:
    signed = stun.encode(message([(stun.USERNAME, b"one")]), b"key")
    extra = bytes.fromhex("000d000400000000")
    longer = signed[:2] + (len(signed) - 20 + len(extra)).to_bytes(2) + signed[4:] + extra
    decoded = stun.decode(longer)
    assert decoded.attributes == [(stun.USERNAME, b"one")]
    assert stun.has_integrity(decoded, b"key")


def test_message_without_integrity_has_none() -> None:
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
        st.integers(0, 0xFFFF).filter(lambda key: key not in (stun.MESSAGE_INTEGRITY, stun.FINGERPRINT)),
        st.binary(max_size=40),
    ),
    max_size=8,
)


@given(st.integers(0, 0xFFF), st.integers(0, 3), st.binary(min_size=12, max_size=12), attributes, st.booleans())
def test_what_is_written_is_read_again(
    method: int, kind: int, transaction_id: bytes, attributes: list[tuple[int, bytes]], has_fingerprint: bool
) -> None:
    sent = stun.Message(method, kind, transaction_id, attributes, has_fingerprint=has_fingerprint)
    decoded = stun.decode(stun.encode(sent, b"key"))
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
