"""One request and the answer that the RFCs ask for, and how an answer is judged. Knows no server."""

import enum
from collections.abc import Callable

import msgspec

from media.turn import stun


class State(enum.Enum):
    """What the client's 5-tuple has when the request comes."""

    NONE = "no allocation"
    OWN = "its IPv4 allocation"
    DUAL = "its allocation of both families"
    BOUND = "its allocation with channel 0x4000 bound to the peer"
    OTHERS = "an allocation of another user"
    DRAINING = "no allocation, the server drains"
    REDIRECTING = "no allocation, the server drains and names another"
    DRAINING_OWN = "its allocation, the server drains"
    EXPIRED = "no allocation, the credential has expired"
    EXPIRED_OWN = "its allocation, the credential has expired since"
    QUOTA = "no allocation, and the user has all that it may have"
    FULL = "no allocation, and no relay port is free"


class Signing(enum.Enum):
    """How the request is signed."""

    SHA1 = "as RFC 5389 has it"
    SHA256 = "as RFC 8489 has it, key by SHA-256"
    SHA256_MD5 = "as RFC 8489 has it, key by MD5"
    BOTH = "twice, with a wrong MESSAGE-INTEGRITY"
    BOTH_WRONG = "twice, with a wrong MESSAGE-INTEGRITY-SHA256"
    TRUNCATED = "as RFC 8489 has it, cut to 16 bytes"
    NONE = "not"
    WRONG = "with a wrong password"
    WRONG_SHA256 = "with a wrong password, SHA-256"
    UNKNOWN_USER = "by nobody known"
    USERHASH = "with USERHASH, which was not offered"
    NO_USERNAME = "without USERNAME"
    NO_REALM = "without REALM"
    NO_NONCE = "without NONCE"
    STALE = "with a nonce that was never given out"
    FOREIGN = "with the nonce of another client"
    CUT_COOKIE = "with the nonce, its cookie changed to offer nothing"
    NO_OFFER = "PASSWORD-ALGORITHM without PASSWORD-ALGORITHMS"
    NO_CHOICE = "PASSWORD-ALGORITHMS without PASSWORD-ALGORITHM"
    OTHER_OFFER = "PASSWORD-ALGORITHMS of MD5 alone"
    OTHER_CHOICE = "PASSWORD-ALGORITHM that was not offered"
    EMPTY_NAME = "with an empty USERNAME"
    BAD_NAME = "with a USERNAME that is no UTF-8"


PROVEN = frozenset((Signing.SHA1, Signing.SHA256, Signing.SHA256_MD5, Signing.BOTH))
ANSWERED_WITH_SHA256 = frozenset((Signing.SHA256, Signing.SHA256_MD5, Signing.BOTH))


class Peer(msgspec.Struct, frozen=True):
    """Stands for the value of an XOR address: a peer that may be reached, another one, and so on."""

    role: str
    port: int = 5000


Value = bytes | Peer


class Row(msgspec.Struct, frozen=True):
    """`code` 0 is success and None no answer. `values` must be in the answer as they are, `needs` in any form.

    `after` are attributes behind the integrity; `mangle` changes the datagram; `is_core_only`: it takes a clock by
    hand.
    """

    name: str
    section: str
    code: int | None
    method: int
    attributes: tuple[tuple[int, Value], ...] = ()
    state: State = State.NONE
    signing: Signing = Signing.SHA1
    kind: int = stun.REQUEST
    needs: tuple[int, ...] = ()
    lacks: tuple[int, ...] = ()
    values: tuple[tuple[int, bytes], ...] = ()
    after: tuple[tuple[int, bytes], ...] = ()
    has_fingerprint: bool = False
    mangle: Callable[[bytes], bytes] | None = None
    is_core_only: bool = False
    is_repeated: bool = False

    def __repr__(self) -> str:
        return self.name


CHALLENGES = (401, 438)
_NEVER = (stun.USERNAME, stun.USERHASH, stun.SOFTWARE, stun.MAPPED_ADDRESS, stun.RESPONSE_ORIGIN)
_SUCCESS = {
    stun.BINDING: (stun.XOR_MAPPED_ADDRESS,),  # RFC 8489, 6.3.1
    stun.ALLOCATE: (stun.XOR_RELAYED_ADDRESS, stun.LIFETIME, stun.XOR_MAPPED_ADDRESS),  # RFC 8656, 7.2
    stun.REFRESH: (stun.LIFETIME,),  # RFC 8656, 8.2
}


def objections(row: Row, reply: stun.Message | None, key: bytes) -> list[str]:
    """Return what is wrong with an answer; `key` is the one that the request was signed with."""
    if reply is None or row.code is None:
        return [] if reply is None and row.code is None else [f"{_code(reply)} for {_told(row.code)}"]
    found = [] if reply.method == row.method else ["answers another method"]
    if _code(reply) != _told(row.code):
        return [*found, f"{_code(reply)} for {_told(row.code)}"]
    present = {attribute for attribute, _ in reply.attributes}
    found += [f"lacks {attribute:#06x}" for attribute in _needs(row) if attribute not in present]
    found += [f"has {attribute:#06x}" for attribute in _lacks(row) if attribute in present]
    found += [
        f"{attribute:#06x} is {reply.first(attribute)!r}"
        for attribute, value in row.values
        if reply.first(attribute) != value
    ]
    found += _integrity_objections(row, reply, key)
    if reply.has_fingerprint != row.has_fingerprint:
        found.append("FINGERPRINT")  # spec/turn.md asks for it where the request had it, only
    return found


def _integrity_objections(row: Row, reply: stun.Message, key: bytes) -> list[str]:
    is_proven = row.method != stun.BINDING and row.signing in PROVEN and row.code not in CHALLENGES
    if not is_proven:
        return ["is signed"] if reply.is_signed else []  # RFC 8489, 9.2.4
    is_sha256 = row.signing in ANSWERED_WITH_SHA256
    if (reply.integrity_at >= 0, reply.integrity_sha256_at >= 0) != (not is_sha256, is_sha256):
        return ["signed in another way"]
    return [] if stun.has_integrity(reply, key) else ["wrongly signed"]


def _needs(row: Row) -> tuple[int, ...]:
    if row.code == 0:
        return row.needs + _SUCCESS.get(row.method, ())
    if row.code in CHALLENGES:  # RFC 8489, 9.2.4
        return (*row.needs, stun.ERROR_CODE, stun.REALM, stun.NONCE, stun.PASSWORD_ALGORITHMS)
    return (*row.needs, stun.ERROR_CODE, *((stun.UNKNOWN_ATTRIBUTES,) if row.code == 420 else ()))


def _lacks(row: Row) -> tuple[int, ...]:
    if row.code in CHALLENGES:
        return (*row.lacks, *_NEVER)
    return (*row.lacks, *_NEVER, stun.REALM, stun.NONCE)


def code_of(reply: stun.Message | None) -> int | None:
    """Return the code of an answer, 0 for success, None for silence."""
    if reply is None:
        return None
    value = reply.first(stun.ERROR_CODE)
    return 0 if value is None else stun.parse_error_code(value)


def _code(reply: stun.Message | None) -> str:
    return _told(code_of(reply))


def _told(code: int | None) -> str:
    return "silence" if code is None else "success" if code == 0 else str(code)
