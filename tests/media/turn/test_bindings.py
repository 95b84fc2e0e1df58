"""Quick answers to Binding requests: byte for byte what the server answers, and only where it would."""

import pytest

from media.turn import bindings, stun
from media.turn.address import SocketAddress
from media.turn.bindings import NOT_COMMON, SILENT, Bindings
from media.turn.slots import Slots
from tests.media.turn.world import World, with_rules

SOURCE = ("203.0.113.5", 40000)
REQUEST = stun.encode(stun.Message(stun.BINDING, stun.REQUEST, b"transaction!", []))


def answer(world: World, datagram: bytes, source: SocketAddress = SOURCE, subject: Bindings | None = None) -> bytes:
    """What is answered: empty for silence. Raises: LookupError when it is left to the server."""
    slots = Slots(2)
    slots.views[1][: len(datagram)] = datagram
    subject = subject or Bindings(slots, world.server.may_answer_binding)
    subject._slots = slots
    size = subject.answer(1, len(datagram), source, lambda _: source, world.now)
    if size == NOT_COMMON:
        raise LookupError
    return bytes(slots.views[1][:size])


def test_answer_is_that_of_the_server_and_counts() -> None:
    world = World()
    subject = Bindings(Slots(1), world.server.may_answer_binding)
    for _ in range(2):
        assert answer(world, REQUEST, subject=subject) == world.receive(REQUEST, SOURCE)[0]
    assert world.stats.bindings_total == 4


def test_empty_bucket_is_silence() -> None:
    world = with_rules(replies_per_s=0.0, replies_burst=0.1)
    assert answer(world, REQUEST)
    assert answer(world, REQUEST) == b""
    assert world.stats.dropped == {"silenced": 1}
    assert SILENT == 0


@pytest.mark.parametrize(
    "datagram",
    [
        REQUEST[:-1],
        REQUEST + bytes(4),
        REQUEST[:3] + b"\x04" + REQUEST[4:],
        REQUEST[:4] + bytes(4) + REQUEST[8:],
        stun.encode(stun.Message(stun.BINDING, stun.REQUEST, bytes(12), [(stun.SOFTWARE, b"")])),
    ],
)
def test_what_is_not_of_the_common_form_is_left_to_the_server(datagram: bytes) -> None:
    with pytest.raises(LookupError):
        answer(World(), datagram)


def test_ipv6_is_left_to_the_server() -> None:
    with pytest.raises(LookupError):
        answer(World(), REQUEST, ("2001:db8::1", 1, 0, 0))


def test_clients_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "MOST_REMEMBERED", 3)
    world = World()
    subject = Bindings(Slots(1), world.server.may_answer_binding)
    for port in range(1, 8):
        assert answer(world, REQUEST, ("203.0.113.5", port), subject)
        assert len(subject._mapped) <= 3
