import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn import address, channel_data, stun
from media.turn_check.client import Answer, Arrived, Credential, Request, TurnClient

CREDENTIAL = Credential("user", "secret")
KEY = stun.integrity_key("user", "example.org", "secret")
PEER = ("192.0.2.9", 5000)


def a_client(credential: Credential | None = CREDENTIAL) -> TurnClient:
    count = itertools.count(1)
    return TurnClient(credential, lambda: next(count).to_bytes(12))


def challenge(request: Request, code: int = 401, nonce: bytes = b"n1") -> bytes:
    attributes = [
        (stun.ERROR_CODE, stun.error_code(code, "Go\x07away")),
        (stun.REALM, b"example.org"),
        (stun.NONCE, nonce),
    ]
    return stun.encode(stun.Message(stun.ALLOCATE, stun.ERROR, request.transaction_id, attributes))


def success(request: Request, key: bytes | None) -> bytes:
    return stun.encode(stun.Message(stun.ALLOCATE, stun.SUCCESS, request.transaction_id, []), key)


def asked(client: TurnClient, nonce: bytes = b"n1", code: int = 401) -> Answer:
    request = client.request(stun.ALLOCATE)
    answer = client.answer(request, challenge(request, code, nonce))
    assert answer is not None
    return answer


def test_the_first_request_is_not_signed_and_the_second_one_is() -> None:
    client = a_client()
    first = client.request(stun.ALLOCATE, [(stun.LIFETIME, bytes(4))])
    assert first.key is None
    assert stun.decode(first.data).integrity_at < 0
    answer = client.answer(first, challenge(first))
    assert answer is not None
    assert (answer.code, answer.reason) == (401, "Goaway")
    assert client.take_challenge(answer)
    message = stun.decode(client.request(stun.ALLOCATE, [], PEER).data)
    assert stun.has_integrity(message, KEY)
    assert message.first(stun.USERNAME) == b"user"
    assert message.first(stun.NONCE) == b"n1"
    peer = message.first(stun.XOR_PEER_ADDRESS) or b""
    assert address.socket_address(*stun.parse_xor_address(peer, message.transaction_id)) == PEER


def test_a_second_401_is_the_answer_but_a_stale_nonce_is_replaced() -> None:
    client = a_client()
    assert client.take_challenge(asked(client))
    assert not client.take_challenge(asked(client, b"n2"))
    assert client.take_challenge(asked(client, b"n2", 438))
    assert not client.take_challenge(asked(client, b"n2", 438)), "the same nonce again is no news"
    assert not client.take_challenge(asked(client, b"n3", 403))


def test_without_a_credential_the_realm_is_learned_only() -> None:
    client = a_client(None)
    assert not client.take_challenge(asked(client))
    assert client.realm == "example.org"
    assert not client.is_signing


def test_a_success_must_be_signed_by_who_knows_the_password() -> None:
    client = a_client()
    assert client.take_challenge(asked(client))
    request = client.request(stun.ALLOCATE)
    assert client.answer(request, success(request, None)) is None
    assert client.answer(request, success(request, bytes(16))) is None
    assert client.unsigned == 2
    assert client.answer(request, success(request, KEY)) is not None


@given(st.binary(max_size=80))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    client = a_client()
    request = client.request(stun.BINDING)
    assert client.answer(request, data) is None
    client.arrived(data)
    no_code = stun.encode(stun.Message(stun.BINDING, stun.ERROR, request.transaction_id, [(stun.ERROR_CODE, data)]))
    answer = client.answer(request, no_code)
    assert answer is None or 300 <= answer.code < 700


def test_another_transaction_and_another_kind_are_no_answer() -> None:
    client = a_client()
    request, other = client.request(stun.BINDING), client.request(stun.BINDING)
    assert client.answer(request, success(other, None)) is None
    assert client.answer(request, request.data) is None


def test_data_of_peers_arrives_in_both_forms() -> None:
    client = a_client()
    indication = stun.decode(client.send_indication(PEER, b"hello"))
    assert (indication.method, indication.kind) == (stun.SEND, stun.INDICATION)
    data = stun.encode(
        stun.Message(stun.DATA_METHOD, stun.INDICATION, indication.transaction_id, indication.attributes)
    )
    assert client.arrived(data) == Arrived(b"hello", 0, PEER)
    assert client.arrived(channel_data.header(0x4000, 2) + b"hi") == Arrived(b"hi", 0x4000)
    for noise in (b"", b"\x40\x00\x00\x09", indication.raw, b"\x00" * 19):
        assert client.arrived(noise) is None


@pytest.mark.parametrize("value", [b"", bytes(8), bytes(3)])
def test_a_malformed_address_is_none(value: bytes) -> None:
    message = stun.Message(stun.BINDING, stun.SUCCESS, bytes(12), [(stun.XOR_MAPPED_ADDRESS, value)])
    assert Answer(message).address(stun.XOR_MAPPED_ADDRESS) is None
    assert Answer(message).address(stun.XOR_RELAYED_ADDRESS) is None


def test_a_credential_hides_its_password() -> None:
    assert "secret" not in repr(CREDENTIAL)
