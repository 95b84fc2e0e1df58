"""A TURN client without sockets: requests that are signed when the server asks, answers that are matched and checked.

It knows the long-term credential mechanism (RFC 8489, 9.2) and the forms of data (RFC 8656, 11 and 12); what to ask
when is the caller's.
"""

from collections.abc import Callable, Sequence

import msgspec

from media.turn import address, channel_data, stun
from media.turn.address import SocketAddress
from media.turn.channel_data import ChannelDataError
from media.turn.stun import StunError

UNAUTHORIZED, STALE_NONCE = 401, 438

_Attribute = tuple[int, bytes]
_REASON_BYTES = 763
_FIRST_OF_CHANNELS = 0x40


class Credential(msgspec.Struct, frozen=True):
    """Who a client says it is."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, ***)"


class Request(msgspec.Struct, frozen=True):
    """One request as it goes out; a repetition over UDP sends the same bytes. `key` signed it, None: nothing did."""

    transaction_id: bytes
    data: bytes
    key: bytes | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a server said to a request; `code` is 0 for success."""

    message: stun.Message
    code: int = 0
    reason: str = ""

    def address(self, attribute: int) -> tuple[bytes, int] | None:
        """Return the address and port of an XOR address attribute, None without a well-formed one."""
        value = self.message.first(attribute)
        try:
            return None if value is None else stun.parse_xor_address(value, self.message.transaction_id)
        except StunError:
            return None


class Arrived(msgspec.Struct, frozen=True):
    """Data of a peer; `channel_number` is 0 when it came in a Data indication, and `peer_address` is then set."""

    data: bytes
    channel_number: int = 0
    peer_address: SocketAddress | None = None


class TurnClient:
    """The protocol side of one connection to a server. `new_id` gives 12 fresh bytes for each transaction."""

    def __init__(self, credential: Credential | None, new_id: Callable[[], bytes]) -> None:
        self.credential = credential
        self.realm = ""
        self.unsigned = 0  # answers that did not prove to come from who knows the password
        self._new_id = new_id
        self._nonce = b""
        self._key: bytes | None = None

    @property
    def is_signing(self) -> bool:
        """Whether the server's challenge was taken up."""
        return self._key is not None

    def request(
        self, method: int, attributes: Sequence[_Attribute] = (), peer_address: SocketAddress | None = None
    ) -> Request:
        """Build one request, signed once a challenge was taken up."""
        transaction_id = self._new_id()
        message = stun.Message(method, stun.REQUEST, transaction_id, list(attributes), has_fingerprint=True)
        if peer_address is not None:
            message.attributes.append(_peer(peer_address, transaction_id))
        if self._key is not None and self.credential is not None:
            message.attributes += [
                (stun.USERNAME, self.credential.username.encode()),
                (stun.REALM, self.realm.encode()),
                (stun.NONCE, self._nonce),
            ]
        return Request(transaction_id, stun.encode(message, self._key), self._key)

    def answer(self, request: Request, data: bytes) -> Answer | None:
        """Return what `data` answers to the request; None when it is no answer to it, or not signed as it must be."""
        try:
            message = stun.decode(data)
            if message.transaction_id != request.transaction_id or message.kind not in (stun.SUCCESS, stun.ERROR):
                return None
            answer = _read(message)
        except StunError:
            return None
        if request.key is not None and answer.code == 0 and not stun.has_integrity(message, request.key):
            self.unsigned += 1
            return None
        return answer

    def take_challenge(self, answer: Answer) -> bool:
        """Take realm and nonce of a 401 or 438 up; False when there is nothing new to try.

        RFC 8489, 9.2.5: a 401 to a signed request means that the credential is wrong.
        """
        realm, nonce = answer.message.first(stun.REALM), answer.message.first(stun.NONCE)
        is_new = answer.code == STALE_NONCE or (answer.code == UNAUTHORIZED and not self.is_signing)
        if not is_new or realm is None or nonce is None or nonce == self._nonce:
            return False
        self.realm = realm.decode(errors="replace")
        if self.credential is None:
            return False
        self._nonce = nonce
        self._key = stun.integrity_key(self.credential.username, self.realm, self.credential.password)
        return True

    def send_indication(self, peer_address: SocketAddress, data: bytes) -> bytes:
        """Build a Send indication."""
        transaction_id = self._new_id()
        attributes = [_peer(peer_address, transaction_id), (stun.DATA, data)]
        return stun.encode(stun.Message(stun.SEND, stun.INDICATION, transaction_id, attributes))

    @staticmethod
    def arrived(data: bytes) -> Arrived | None:
        """Return what a peer sent; None for all that is no data."""
        try:
            if data and data[0] >= _FIRST_OF_CHANNELS:
                number, content = channel_data.decode(memoryview(data))
                return Arrived(bytes(content), number)
            message = stun.decode(data)
            peer, content_ = message.first(stun.XOR_PEER_ADDRESS), message.first(stun.DATA)
            if message.method != stun.DATA_METHOD or peer is None or content_ is None:
                return None
            return Arrived(content_, 0, address.socket_address(*stun.parse_xor_address(peer, message.transaction_id)))
        except (StunError, ChannelDataError):
            return None


def _peer(peer_address: SocketAddress, transaction_id: bytes) -> _Attribute:
    ip = address.pack(peer_address[0])
    return stun.XOR_PEER_ADDRESS, stun.xor_address(ip, peer_address[1], transaction_id)


def _read(message: stun.Message) -> Answer:
    if message.kind == stun.SUCCESS:
        return Answer(message)
    value = message.first(stun.ERROR_CODE) or b""
    reason = value[4 : 4 + _REASON_BYTES].decode(errors="replace")
    return Answer(message, stun.parse_error_code(value), "".join(each for each in reason if each.isprintable()))
