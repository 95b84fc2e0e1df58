import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.signaling.envelope import (
    Body,
    Collect,
    Deliver,
    EnvelopeError,
    Evict,
    Gone,
    address,
    decode,
    decode_notice,
    encode,
    encode_notice,
    inbox,
)


@pytest.mark.parametrize("body", [Deliver("a-0", b'{"a":1}'), Deliver("", b""), Evict("a-0"), Collect("a-é")])
def test_a_body_is_read_back(body: Body) -> None:
    assert decode(encode(body)) == body


def test_the_address_of_a_connection_is_what_a_body_for_it_begins_with() -> None:
    assert address("a-0") + b"{}" == encode(Deliver("a-0", b"{}"))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_body_or_the_one_error(payload: bytes) -> None:
    for read in (decode, decode_notice):
        with contextlib.suppress(EnvelopeError):
            read(payload)


@pytest.mark.parametrize("body", [b"\x09\x00\x00", b"\x01\x05\x00a", encode(Evict("a")) + b"x"])
def test_an_unknown_kind_and_wrong_lengths_are_refused(body: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decode(body)


def test_a_notice_is_read_back() -> None:
    assert decode_notice(encode_notice(Gone("arn", 1001, "x"))) == Gone("arn", 1001, "x")


def test_each_node_has_an_inbox_of_its_own() -> None:
    assert inbox("a") != inbox("b")
