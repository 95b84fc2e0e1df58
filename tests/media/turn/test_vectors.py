"""The vectors of RFC 5769 and of RFC 8489, appendix B: read, verified, and refused with any bit changed."""

import binascii

import pytest

from media.turn import address, stun
from tests.media.turn import vectors
from tests.media.turn.vectors import IPV4_RESPONSE, IPV6_RESPONSE, REALM, REQUEST, SHORT_TERM_KEY, USERNAME

LONG_TERM_KEY = stun.integrity_key(USERNAME, REALM, vectors.PASSWORD)
SHA256_KEY = stun.integrity_key(USERNAME, REALM, vectors.PASSWORD, stun.SHA256)
SIGNED = {
    "short-term request": (REQUEST, SHORT_TERM_KEY),
    "IPv4 response": (IPV4_RESPONSE, SHORT_TERM_KEY),
    "IPv6 response": (IPV6_RESPONSE, SHORT_TERM_KEY),
    "long-term request": (vectors.LONG_TERM_REQUEST, LONG_TERM_KEY),
    "USERHASH request": (vectors.USERHASH_REQUEST, SHA256_KEY),
}


@pytest.mark.parametrize("name", SIGNED)
def test_vector_was_signed_with_its_key_and_no_other(name: str) -> None:
    datagram, key = SIGNED[name]
    decoded = stun.decode(datagram)
    assert decoded.is_signed
    assert stun.has_integrity(decoded, key)
    assert not stun.has_integrity(decoded, key[:-1] + bytes((key[-1] ^ 1,)))
    assert not stun.has_integrity(decoded, key + b"x")


def is_accepted(datagram: bytes, key: bytes) -> bool:
    try:
        return stun.has_integrity(stun.decode(datagram), key)
    except stun.StunError:
        return False


def with_right_fingerprint(datagram: bytes) -> bytes:
    covered = datagram[:-8]
    return covered + datagram[-8:-4] + (binascii.crc32(covered) ^ 0x5354554E).to_bytes(4)


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_vector_with_any_byte_changed_is_refused(name: str, bit: int) -> None:
    datagram, key = SIGNED[name]
    # Another type makes FINGERPRINT an attribute behind the integrity, which is ignored.
    type_of_fingerprint = range(len(datagram) - 8, len(datagram) - 6) if stun.decode(datagram).has_fingerprint else ()
    for at in set(range(len(datagram))) - set(type_of_fingerprint):
        changed = bytearray(datagram)
        changed[at] ^= bit
        assert not is_accepted(bytes(changed), key), at


@pytest.mark.parametrize("name", ["short-term request", "IPv4 response", "IPv6 response"])
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_the_integrity_alone_notices_it_too(name: str, bit: int) -> None:
    datagram, key = SIGNED[name]
    for at in range(len(datagram) - 8):
        changed = bytearray(datagram)
        changed[at] ^= bit
        assert not is_accepted(with_right_fingerprint(bytes(changed)), key), at


@pytest.mark.parametrize("at", range(0, len(REQUEST), 7))
def test_fingerprint_alone_notices_a_changed_byte(at: int) -> None:
    changed = bytearray(REQUEST)
    changed[at] ^= 1
    with pytest.raises(stun.StunError):
        stun.decode(bytes(changed))


def test_rfc_5769_request_is_read() -> None:
    decoded = stun.decode(REQUEST)
    assert (decoded.method, decoded.kind) == (stun.BINDING, stun.REQUEST)
    assert decoded.has_fingerprint
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


def test_ipv4_response_is_written_byte_for_byte() -> None:
    decoded = stun.decode(REQUEST[:20].replace(b"\x00\x58", b"\x00\x00"))
    reply = stun.Message(
        stun.BINDING,
        stun.SUCCESS,
        decoded.transaction_id,
        [(stun.XOR_MAPPED_ADDRESS, stun.xor_address(address.pack("192.0.2.1"), 32853, decoded.transaction_id))],
    )
    assert stun.encode(reply) == bytes.fromhex("0101000c2112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643")


@pytest.mark.parametrize(
    ("vector", "key"), [(vectors.LONG_TERM_REQUEST, LONG_TERM_KEY), (vectors.USERHASH_REQUEST, SHA256_KEY)]
)
def test_long_term_requests_are_written_byte_for_byte(vector: bytes, key: bytes) -> None:
    decoded = stun.decode(vector)
    assert stun.encode(decoded, key, is_sha256=key is SHA256_KEY) == vector


def test_userhash_request_tells_who_sends_it_and_how_the_key_is_made() -> None:
    decoded = stun.decode(vectors.USERHASH_REQUEST)
    assert decoded.unknown() == []
    assert decoded.first(stun.USERHASH) == stun.userhash(USERNAME, REALM)
    assert decoded.first(stun.PASSWORD_ALGORITHM) == bytes((0, stun.SHA256, 0, 0))
    assert decoded.first(stun.NONCE) == vectors.NONCE
    assert not stun.has_integrity(decoded, LONG_TERM_KEY)


def test_userhash_request_as_printed_has_a_wrong_length_and_hides_its_algorithm() -> None:
    printed = vectors.UNCORRECTED_USERHASH_REQUEST
    with pytest.raises(stun.StunError):
        stun.decode(printed)  # erratum 6268: 0x9c is its length with the header
    shortened = stun.decode(printed[:2] + bytes((0, len(printed) - 20)) + printed[4:])
    assert not stun.has_integrity(shortened, LONG_TERM_KEY)
