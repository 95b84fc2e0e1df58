"""Brings a client into the state of a row, sends its request to any server, and judges the answer."""

import secrets
import typing
from collections.abc import Callable

import msgspec

from media.turn import mac, stun
from media.turn.credential import PASSWORD_ALGORITHMS
from tests.media.turn.request_row import Peer, Row, Signing, State, code_of, objections

Attributes = list[tuple[int, bytes]]
Exchange = Callable[[bytes], bytes | None]
"""Sends a datagram from one 5-tuple and returns the answer, None for none."""

UDP = (stun.REQUESTED_TRANSPORT, b"\x11\0\0\0")
SHA256_CHOSEN, MD5_CHOSEN = bytes((0, stun.SHA256, 0, 0)), bytes((0, stun.MD5, 0, 0))
_HAVE_ALLOCATION = (State.OWN, State.DUAL, State.BOUND, State.OTHERS, State.DRAINING_OWN, State.EXPIRED_OWN)


class Place(typing.Protocol):
    """A server that runs, and what it takes for a peer; `enter` does what no client can do for a state."""

    peers: dict[str, bytes]

    def client(self) -> Exchange: ...
    def credential(self, name: str, *, is_expired: bool = False) -> tuple[str, str]: ...
    def enter(self, state: State) -> None: ...


class Outcome(msgspec.Struct):
    """What a server answered to a row, and what is wrong with it."""

    reply: stun.Message | None
    objections: list[str]

    @property
    def code(self) -> int | None:
        return code_of(self.reply)


class Session:
    """A client of a server with one 5-tuple: what it was told, and who it is."""

    def __init__(self, place: Place, name: str = "user", *, is_expired: bool = False) -> None:
        self.place = place
        self.exchange = place.client()
        self.username, self.password = place.credential(name, is_expired=is_expired)
        self.count = 0
        # Each client's own, or one with the port of an earlier one would seem to send its requests again.
        self.transactions = secrets.token_bytes(8)
        told = self.challenge()
        self.realm, self.nonce = told.first(stun.REALM) or b"", told.first(stun.NONCE) or b""

    def transaction_id(self) -> bytes:
        self.count += 1
        return self.transactions + self.count.to_bytes(4)

    def challenge(self) -> stun.Message:
        message = stun.Message(stun.ALLOCATE, stun.REQUEST, self.transaction_id(), [UDP])
        answer = self.exchange(stun.encode(message))
        assert answer is not None
        return stun.decode(answer)

    def key(self, algorithm: int = stun.MD5) -> bytes:
        return stun.integrity_key(self.username, self.realm.decode(), self.password, algorithm)

    def succeed(self, method: int, *attributes: tuple[int, bytes | Peer]) -> None:
        row = Row("set-up", "", 0, method, attributes)
        outcome = request(self, row)
        assert outcome.code == 0, f"{outcome.code} for the set-up by {method}"

    def values(self, row: Row, transaction_id: bytes) -> Attributes:
        """Return the attributes of a row with the addresses of this place."""
        return [
            (key, stun.xor_address(self.place.peers[value.role], value.port, transaction_id))
            if isinstance(value, Peer)
            else (key, value)
            for key, value in row.attributes
        ]


def run(row: Row, place: Place) -> Outcome:
    """Bring a new client into the state of the row, send the request, judge the answer."""
    session = _prepare(row.state, place)
    outcome = request(session, row)
    if row.is_repeated:
        session.count -= 1
        again = request(session, row)
        if outcome.reply is None or again.reply is None or again.reply.raw != outcome.reply.raw:
            outcome.objections.append("answers otherwise to a repetition")
    return outcome


def _prepare(state: State, place: Place) -> Session:
    place.enter(State.NONE)
    if state in (State.QUOTA, State.FULL, State.DRAINING, State.REDIRECTING):
        Session(place).succeed(stun.ALLOCATE, UDP)
    session = Session(place, is_expired=state is State.EXPIRED)
    if state is State.OTHERS:
        mine = session.username, session.password
        session.username, session.password = place.credential("owner")
        session.succeed(stun.ALLOCATE, UDP)
        session.username, session.password = mine
    elif state in _HAVE_ALLOCATION:
        both = (stun.ADDITIONAL_ADDRESS_FAMILY, b"\2\0\0\0")
        session.succeed(stun.ALLOCATE, UDP, *([both] if state is State.DUAL else []))
    if state is State.BOUND:
        number = (stun.CHANNEL_NUMBER, b"\x40\0\0\0")
        session.succeed(stun.CHANNEL_BIND, number, (stun.XOR_PEER_ADDRESS, Peer("peer")))
    place.enter(state)
    return session


def request(session: Session, row: Row) -> Outcome:
    """Send the request of a row as it is now, judge the answer."""
    transaction_id = session.transaction_id()
    message = stun.Message(row.method, row.kind, transaction_id, session.values(row, transaction_id))
    message.has_fingerprint = row.has_fingerprint
    datagram, key = _signed(session, message, row.signing)
    for attribute, value in row.after:
        datagram = _longer(datagram, attribute.to_bytes(2) + len(value).to_bytes(2) + value)
    if row.mangle is not None:
        datagram = row.mangle(datagram)
    answer = session.exchange(datagram)
    reply = None if answer is None else stun.decode(answer)
    found = objections(row, reply, key)
    if reply is not None and reply.transaction_id != transaction_id:
        found.append("answers another transaction")
    return Outcome(reply, found)


def _signed(session: Session, message: stun.Message, signing: Signing) -> tuple[bytes, bytes]:
    """Return the datagram, and the key that an answer is to be signed with."""
    if signing is Signing.NONE:
        return stun.encode(message), b""
    message.attributes += _companions(session, signing)
    is_sha256 = signing in _WITH_SHA256_KEY
    key = session.key(stun.SHA256 if is_sha256 else stun.MD5)
    if signing in (Signing.WRONG, Signing.WRONG_SHA256):
        key = bytes(byte ^ 1 for byte in key)
    if signing in (Signing.BOTH, Signing.BOTH_WRONG):
        good, bad = key, key + b"x"
        first, second = (bad, good) if signing is Signing.BOTH else (good, bad)
        return _with_sha256(stun.encode(message, first), second), key
    if signing is Signing.TRUNCATED:
        return _with_sha256(stun.encode(message), key, 16), key
    return stun.encode(message, key, is_sha256=is_sha256 or signing is Signing.SHA256_MD5), key


_WITH_SHA256_KEY = frozenset(
    (
        Signing.SHA256,
        Signing.BOTH,
        Signing.BOTH_WRONG,
        Signing.TRUNCATED,
        Signing.WRONG_SHA256,
        Signing.NO_OFFER,
        Signing.OTHER_OFFER,
        Signing.OTHER_CHOICE,
    )
)
_CHOICES = {
    Signing.SHA256_MD5: MD5_CHOSEN,
    Signing.OTHER_CHOICE: b"\0\3\0\0",
    **dict.fromkeys(_WITH_SHA256_KEY - {Signing.OTHER_CHOICE}, SHA256_CHOSEN),
}
_OFFERS = {
    Signing.OTHER_OFFER: MD5_CHOSEN,
    Signing.NO_CHOICE: PASSWORD_ALGORITHMS,
    **dict.fromkeys(_CHOICES.keys() - {Signing.NO_OFFER, Signing.OTHER_OFFER}, PASSWORD_ALGORITHMS),
}


def _companions(session: Session, signing: Signing) -> Attributes:
    username = {Signing.EMPTY_NAME: b"", Signing.BAD_NAME: b"\xff\xfe", Signing.UNKNOWN_USER: b"nobody"}
    identity = (stun.USERNAME, username.get(signing, session.username.encode()))
    if signing is Signing.USERHASH:
        identity = (stun.USERHASH, stun.userhash(session.username, session.realm.decode()))
    found = [identity, (stun.REALM, session.realm), (stun.NONCE, _nonce(session, signing))]
    left_out = {Signing.NO_USERNAME: 0, Signing.NO_REALM: 1, Signing.NO_NONCE: 2}.get(signing)
    if left_out is not None:
        del found[left_out]
    if signing in _CHOICES:
        found.append((stun.PASSWORD_ALGORITHM, _CHOICES[signing]))
    if signing in _OFFERS:
        found.append((stun.PASSWORD_ALGORITHMS, _OFFERS[signing]))
    return found


def _nonce(session: Session, signing: Signing) -> bytes:
    if signing is Signing.STALE:
        return b"4f2b" * 7
    if signing is Signing.FOREIGN:
        return Session(session.place).nonce
    if signing is Signing.CUT_COOKIE:
        return session.nonce[:12] + b"A" + session.nonce[13:]
    return session.nonce


def _with_sha256(datagram: bytes, key: bytes, length: int = 32) -> bytes:
    attribute = stun.MESSAGE_INTEGRITY_SHA256.to_bytes(2) + length.to_bytes(2)
    whole = _longer(datagram, attribute + bytes(length))
    return whole[:-length] + mac.sha256(key, whole[: len(datagram)])[:length]


def _longer(datagram: bytes, extra: bytes) -> bytes:
    return datagram[:2] + (len(datagram) - stun.HEADER_BYTES + len(extra)).to_bytes(2) + datagram[4:] + extra
