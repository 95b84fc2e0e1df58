"""Answers to requests, byte for byte where a client reads them."""

from media.turn import replies, stun
from media.turn.address import pack
from media.turn.allocate import RequestError
from media.turn.credential import Account

CLIENT = (0, ("203.0.113.5", 40000))
REQUEST = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), [])
ACCOUNT = Account("user", b"key", b"", 1e9)


def test_failure_has_a_reason_unless_it_is_terse_and_a_signature_for_an_account() -> None:
    full = stun.decode(bytes(replies.failure(CLIENT, REQUEST, RequestError(437), ACCOUNT).data))
    assert full.first(stun.ERROR_CODE) == b"\0\0\x04\x25Allocation Mismatch"
    assert stun.has_integrity(full, ACCOUNT.key)
    terse = stun.decode(bytes(replies.failure(CLIENT, REQUEST, RequestError(401, is_terse=True)).data))
    assert terse.first(stun.ERROR_CODE) == b"\0\0\x04\x01"
    assert terse.integrity_at < 0


def test_success_goes_back_where_the_request_came_from() -> None:
    reply = replies.success(CLIENT, REQUEST, [replies.mapped(CLIENT, REQUEST)])
    assert (reply.listener, reply.client_address) == CLIENT
    value = stun.decode(bytes(reply.data)).first(stun.XOR_MAPPED_ADDRESS)
    assert value is not None
    assert stun.parse_xor_address(value, bytes(12)) == (pack("203.0.113.5"), 40000)


def test_alternate_server_is_not_masked() -> None:
    error = replies.try_alternate((pack("198.51.100.9"), 3478))
    assert (error.code, error.attributes) == (300, ((stun.ALTERNATE_SERVER, b"\0\x01\x0d\x96\xc6\x33\x64\x09"),))


def test_unknown_attributes_are_listed_with_two_bytes_each() -> None:
    error = replies.unknown_attributes([0x7ABC, 0x0024])
    assert (error.code, error.attributes) == (420, ((stun.UNKNOWN_ATTRIBUTES, b"\x7a\xbc\x00\x24"),))


def test_every_code_of_the_server_has_a_reason() -> None:
    assert all(300 <= code <= 599 and reason for code, reason in replies.REASONS.items())
