import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.names import Role
from channels.signaling.envelope import (
    Answer,
    Collect,
    Deliver,
    Envelope,
    EnvelopeError,
    Evict,
    Gone,
    decode,
    encode,
    inbox,
)
from channels.signaling.mailbox import Mail
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address

VIEWER = Address(Role.VIEWER, "v1")
MAIL = Mail("a-1", "arn", MASTER, VIEWER, Action.SDP_OFFER, b'{"a":1}', "c", 60.0, "a", "a-0", 2)


@pytest.mark.parametrize(
    "envelope",
    [Deliver(MAIL, 7), Evict("a-0", 7), Collect("arn", VIEWER), Answer("a-0", b"{}"), Gone("arn", 1001, "x")],
)
def test_an_envelope_is_read_back(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope


@given(st.binary(max_size=100))
def test_any_bytes_are_an_envelope_or_the_one_error(payload: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        decode(payload)


def test_each_node_has_an_inbox_of_its_own() -> None:
    assert inbox("a") != inbox("b")
