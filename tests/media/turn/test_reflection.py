"""What a forged source would be sent: bytes of each unauthenticated answer for the bytes of its request.

`pytest -s` prints the table.
"""

from collections.abc import Callable

import msgspec
import pytest

from media.turn import stun
from media.turn.gate import MOST_AMPLIFIED
from tests.media.turn.world import UDP, Attributes, Caller, World, code_of, with_rules

REALM = "heliograph"
TRANSPORT = (stun.REQUESTED_TRANSPORT, UDP)
BINDING_AT_MOST = 1.6
IPV6_FLOOR = 2.2
"""A Binding request has 20 bytes, and 44 are the least that an answer with an IPv6 address can have."""


class Answer(msgspec.Struct, frozen=True):
    """A request of a stranger and the code that it earns; `most` is how many times its bytes the answer may have."""

    name: str
    code: int
    most: float
    build: Callable[[Caller], bytes]
    host: str = "203.0.113.5"


def plain(method: int, attributes: Attributes, *, has_fingerprint: bool = False) -> Callable[[Caller], bytes]:
    def build(caller: Caller) -> bytes:
        message = caller.message(method, attributes)
        message.has_fingerprint = has_fingerprint
        return stun.encode(message)

    return build


def signed(change: Callable[[Caller], None], attributes: Attributes | None = None) -> Callable[[Caller], bytes]:
    def build(caller: Caller) -> bytes:
        caller.key = stun.integrity_key("user", REALM, "secret")
        caller.challenge()
        change(caller)
        message = caller.message(stun.REFRESH, list(attributes or []))
        realm = (stun.REALM, REALM.encode())
        message.attributes += [pair for pair in (caller.identity, realm) if pair[1]]
        message.attributes += [(stun.NONCE, caller.nonce), *caller.offer]
        return stun.encode(message, caller.key, is_sha256=caller.is_sha256)

    return build


def guess(caller: Caller) -> None:
    caller.key = b"guess"


def unknown_user(caller: Caller) -> None:
    caller.identity = (stun.USERNAME, b"nobody")


def short_guess(caller: Caller) -> None:
    caller.identity, caller.key = (stun.USERNAME, b"x"), b"guess"


def stale(caller: Caller) -> None:
    caller.nonce = b"x"


def nameless(caller: Caller) -> None:
    caller.identity = (stun.USERNAME, b"")


def talked_down(caller: Caller) -> None:
    caller.use_sha256()
    del caller.offer[1]


def hashed(caller: Caller) -> None:
    caller.use_sha256(is_hashed=True)


BINDING, ALLOCATE, REFRESH = stun.BINDING, stun.ALLOCATE, stun.REFRESH
ANSWERS = [
    Answer("Binding", 0, BINDING_AT_MOST, plain(BINDING, [])),
    Answer("Binding, FINGERPRINT", 0, BINDING_AT_MOST, plain(BINDING, [], has_fingerprint=True)),
    Answer("Binding, SOFTWARE of 12 bytes", 0, BINDING_AT_MOST, plain(BINDING, [(stun.SOFTWARE, bytes(12))])),
    Answer("Binding from IPv6", 0, IPV6_FLOOR, plain(BINDING, []), host="2600::5"),
    Answer("Binding, 1 unknown attribute", 420, BINDING_AT_MOST, plain(BINDING, [(0x7ABC, b"")])),
    Answer(
        "Binding, 1 unknown, FINGERPRINT", 420, BINDING_AT_MOST, plain(BINDING, [(0x7A, b"")], has_fingerprint=True)
    ),
    Answer("Binding, 2 unknown", 420, BINDING_AT_MOST, plain(BINDING, [(0x7ABC, b""), (0x7ABD, b"")])),
    Answer("Binding, 3 unknown", 420, BINDING_AT_MOST, plain(BINDING, [(0x7000 + n, b"") for n in range(3)])),
    Answer("Binding, 64 unknown", 420, BINDING_AT_MOST, plain(BINDING, [(0x7000 + n, b"") for n in range(64)])),
    Answer("Binding from IPv6, 1 unknown", 420, BINDING_AT_MOST, plain(BINDING, [(0x7ABC, b"")]), host="2600::5"),
    Answer("Refresh of 20 bytes", 401, MOST_AMPLIFIED, plain(REFRESH, [])),
    Answer("Refresh of 20 bytes, FINGERPRINT", 401, MOST_AMPLIFIED, plain(REFRESH, [], has_fingerprint=True)),
    Answer("Allocate", 401, MOST_AMPLIFIED, plain(ALLOCATE, [TRANSPORT])),
    Answer("Allocate, FINGERPRINT", 401, MOST_AMPLIFIED, plain(ALLOCATE, [TRANSPORT], has_fingerprint=True)),
    Answer("Allocate, LIFETIME", 401, MOST_AMPLIFIED, plain(ALLOCATE, [TRANSPORT, (stun.LIFETIME, bytes(4))])),
    Answer("Allocate, unknown attribute", 401, MOST_AMPLIFIED, plain(ALLOCATE, [(0x7ABC, b"")])),
    Answer("wrong password", 401, MOST_AMPLIFIED, signed(guess)),
    Answer("wrong password, short name", 401, MOST_AMPLIFIED, signed(short_guess)),
    Answer("unknown user", 401, MOST_AMPLIFIED, signed(unknown_user)),
    Answer("unknown USERHASH", 401, MOST_AMPLIFIED, signed(hashed)),
    Answer("stale nonce of 1 byte", 438, MOST_AMPLIFIED, signed(stale)),
    Answer("no USERNAME", 400, 1.0, signed(nameless)),
    Answer("offer not repeated", 400, 1.0, signed(talked_down)),
]


def measure(answer: Answer) -> tuple[int, int, int]:
    """Return the bytes of request and reply, and the code."""
    caller = Caller(with_rules(realm=REALM), host=answer.host)
    datagram = answer.build(caller)
    replies = caller.send_raw(datagram)
    assert len(replies) == 1
    return len(datagram), len(replies[0]), code_of(stun.decode(replies[0]))


def test_no_answer_to_a_stranger_amplifies_more_than_it_may() -> None:
    print("\n| request | bytes | answer | bytes | factor | at most |\n|---|---|---|---|---|---|")
    too_large = []
    for answer in ANSWERS:
        asked, given, code = measure(answer)
        told = str(code) if code else "success"
        print(f"| {answer.name} | {asked} | {told} | {given} | {given / asked:.2f} | {answer.most} |")
        if code != answer.code or given > answer.most * asked:
            too_large.append(answer.name)
    assert not too_large


def silent(method: int, kind: int) -> bytes:
    return stun.encode(stun.Message(method, kind, bytes(12), [TRANSPORT, (stun.DATA, b"x")]))


@pytest.mark.parametrize(
    "datagram",
    [
        silent(stun.SEND, stun.INDICATION),
        silent(stun.DATA_METHOD, stun.INDICATION),
        silent(stun.BINDING, stun.INDICATION),
        silent(stun.BINDING, stun.SUCCESS),
        silent(stun.ALLOCATE, stun.ERROR),
        silent(0x0FE, stun.REQUEST),
        b"\x40\x00\x00\x04data",
        b"\x16\xfe\xfd" + bytes(40),
        b"\x80" * 40,
        b"",
    ],
)
def test_everything_else_earns_nothing(datagram: bytes) -> None:
    assert Caller(World()).send_raw(datagram) == []


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_every_answer_is_paid_from_the_bucket_of_its_source(answer: Answer) -> None:
    world = with_rules(realm=REALM, replies_per_s=0.0, replies_burst=3.0)
    caller, other = Caller(world, host=answer.host), Caller(world, host="198.18.0.1")
    datagram = answer.build(caller)
    assert 1 <= sum(len(caller.send_raw(datagram)) for _ in range(100)) <= 30
    assert caller.send_raw(datagram) == []
    other.nonce = caller.nonce
    assert len(other.send_raw(datagram)) == 1
