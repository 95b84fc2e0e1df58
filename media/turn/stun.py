"""STUN messages: strict decode and encode, integrity and fingerprint (RFC 8489). No I/O, no state."""

import binascii
import hashlib
import struct

import msgspec

from media.turn import mac

REQUEST, INDICATION, SUCCESS, ERROR = 0, 1, 2, 3

BINDING, ALLOCATE, REFRESH, SEND, DATA_METHOD, CREATE_PERMISSION, CHANNEL_BIND = 1, 3, 4, 6, 7, 8, 9
CONNECT, CONNECTION_BIND, CONNECTION_ATTEMPT = 0x000A, 0x000B, 0x000C  # RFC 6062

MAPPED_ADDRESS = 0x0001
CHANGE_REQUEST = 0x0003
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
CHANNEL_NUMBER = 0x000C
LIFETIME = 0x000D
XOR_PEER_ADDRESS = 0x0012
DATA = 0x0013
REALM = 0x0014
NONCE = 0x0015
XOR_RELAYED_ADDRESS = 0x0016
REQUESTED_ADDRESS_FAMILY = 0x0017
EVEN_PORT = 0x0018
REQUESTED_TRANSPORT = 0x0019
DONT_FRAGMENT = 0x001A
MESSAGE_INTEGRITY_SHA256 = 0x001C
PASSWORD_ALGORITHM = 0x001D
USERHASH = 0x001E
XOR_MAPPED_ADDRESS = 0x0020
RESERVATION_TOKEN = 0x0022
PADDING = 0x0026
RESPONSE_PORT = 0x0027
CONNECTION_ID = 0x002A
ADDITIONAL_ADDRESS_FAMILY = 0x8000
ADDRESS_ERROR_CODE = 0x8001
PASSWORD_ALGORITHMS = 0x8002
ICMP = 0x8004
SOFTWARE = 0x8022
ALTERNATE_SERVER = 0x8023
FINGERPRINT = 0x8028
RESPONSE_ORIGIN = 0x802B
MOBILITY_TICKET = 0x8030
COTURN_ADDITIONAL_ADDRESS_FAMILY = 0x8032
"""The number that coturn and its clients have for it, from a draft of RFC 8656."""

UNDERSTOOD = frozenset(
    (
        MAPPED_ADDRESS,
        USERNAME,
        MESSAGE_INTEGRITY,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        CHANNEL_NUMBER,
        LIFETIME,
        XOR_PEER_ADDRESS,
        DATA,
        REALM,
        NONCE,
        XOR_RELAYED_ADDRESS,
        REQUESTED_ADDRESS_FAMILY,
        EVEN_PORT,
        REQUESTED_TRANSPORT,
        DONT_FRAGMENT,
        PASSWORD_ALGORITHM,
        USERHASH,
        XOR_MAPPED_ADDRESS,
        RESERVATION_TOKEN,
        CONNECTION_ID,
    )
)
"""Comprehension-required attributes that this server knows; every other one earns a 420."""

COOKIE = 0x2112A442
HEADER_BYTES = 20
MOST_ATTRIBUTES = 64

_COOKIE_BYTES = COOKIE.to_bytes(4)
_FINGERPRINT_MASK = 0x5354554E
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_XOR_IPV4 = struct.Struct("!xBHI")
_FINGERPRINT_BYTES = 4 + 4
_PROOFS = frozenset((MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT))
_SIGNATURES = ((MESSAGE_INTEGRITY, 20, mac.sha1), (MESSAGE_INTEGRITY_SHA256, 32, mac.sha256))
_PADDING = (b"", bytes(3), bytes(2), bytes(1))

MD5, SHA256 = 1, 2
"""Password algorithms (RFC 8489, 18.5.1)."""


class StunError(Exception):
    """The bytes are no STUN message, or an attribute of it is malformed."""


class Message(msgspec.Struct, gc=False):
    """A decoded message. `attributes` are in the order of the wire, those behind an integrity attribute left out.

    `raw` is the datagram; `integrity_at` the offset of MESSAGE-INTEGRITY in it, -1 without one, and
    `integrity_sha256_at` that of MESSAGE-INTEGRITY-SHA256.
    """

    method: int
    kind: int
    transaction_id: bytes
    attributes: list[tuple[int, bytes]]
    raw: bytes = b""
    integrity_at: int = -1
    integrity_sha256_at: int = -1
    has_fingerprint: bool = False
    first_values: dict[int, bytes] | None = None

    @property
    def is_signed(self) -> bool:
        """Tell whether an integrity attribute is there; it may be wrong."""
        return self.integrity_at >= 0 or self.integrity_sha256_at >= 0

    @property
    def wants_sha256(self) -> bool:
        """Tell whether the answer to this request is signed with MESSAGE-INTEGRITY-SHA256, if at all.

        RFC 8489, 9.2.4 has it so for whoever chose a password algorithm; whoever signs so can read it, too.
        """
        return self.integrity_sha256_at >= 0 or self.first(PASSWORD_ALGORITHM) is not None

    def first(self, attribute: int) -> bytes | None:
        """Return the first value of an attribute; later ones of the same type do not count (RFC 8489, 14)."""
        return self.values().get(attribute)

    def values(self) -> dict[int, bytes]:
        """Return the first value of each attribute, made once: the attributes must not change after that."""
        if self.first_values is None:
            self.first_values = dict(reversed(self.attributes))
        return self.first_values

    def every(self, attribute: int) -> list[bytes]:
        """Return all values of an attribute that may stand more than once, such as XOR-PEER-ADDRESS."""
        return [value for key, value in self.attributes if key == attribute]

    def unknown(self) -> list[int]:
        """Return the comprehension-required attribute types that are not understood, each once."""
        found = [key for key, _ in self.attributes if key < 0x8000 and key not in UNDERSTOOD]
        return list(dict.fromkeys(found)) if found else found


def decode(datagram: bytes) -> Message:
    """Read one datagram that must be one whole STUN message.

    Raises: StunError for anything else: drop the datagram silently (RFC 8489, 6.3).
    """
    if len(datagram) < HEADER_BYTES:
        raise StunError("shorter than a header")
    kind_and_method, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
    if kind_and_method & 0xC000 or cookie != COOKIE:
        raise StunError("no STUN header")
    if length & 3 or length != len(datagram) - HEADER_BYTES:
        raise StunError("wrong length")
    method = kind_and_method & 0x000F | (kind_and_method & 0x00E0) >> 1 | (kind_and_method & 0x3E00) >> 2
    kind = (kind_and_method & 0x0010) >> 4 | (kind_and_method & 0x0100) >> 7
    message = Message(method, kind, transaction_id, [], datagram)
    _decode_attributes(message, datagram)
    return message


def _decode_attributes(message: Message, datagram: bytes) -> None:
    at, end, count, is_signed = HEADER_BYTES, len(datagram), 0, False
    attributes = message.attributes
    while at < end:
        key, length = _ATTRIBUTE.unpack_from(datagram, at)
        next_at = at + 4 + (length + 3 & ~3)
        count += 1
        if next_at > end or count > MOST_ATTRIBUTES:
            raise StunError("attributes exceed the message")
        if key in _PROOFS:
            _note_proof(message, key, at, length)
            is_signed = message.is_signed
        elif not is_signed:
            # RFC 8489, 9: what follows an integrity attribute is ignored
            attributes.append((key, datagram[at + 4 : at + 4 + length]))
        at = next_at


def _note_proof(message: Message, key: int, at: int, length: int) -> None:
    if key != FINGERPRINT:
        _note_integrity(message, key, at, length)
        return
    # RFC 8489, 14.7: the last attribute of the message
    if length != 4 or at + _FINGERPRINT_BYTES != len(message.raw):
        raise StunError("misplaced FINGERPRINT")
    _check_fingerprint(message.raw, at)
    message.has_fingerprint = True


def _note_integrity(message: Message, key: int, at: int, length: int) -> None:
    if message.integrity_sha256_at >= 0:
        return  # RFC 8489, 14.6: nothing counts behind it
    if key == MESSAGE_INTEGRITY_SHA256:
        # RFC 8489, 14.6: 32 bytes; a usage may allow to cut that down to 16
        if length & 3 or not 16 <= length <= 32:
            raise StunError("MESSAGE-INTEGRITY-SHA256 is not 16 to 32 bytes")
        message.integrity_sha256_at = at
    elif message.integrity_at < 0:
        if length != 20:
            raise StunError("MESSAGE-INTEGRITY is not 20 bytes")
        message.integrity_at = at


def _check_fingerprint(datagram: bytes, at: int) -> None:
    expected = binascii.crc32(datagram[:at]) ^ _FINGERPRINT_MASK
    if datagram[at + 4 : at + 8] != expected.to_bytes(4):
        raise StunError("wrong FINGERPRINT")


def integrity_key(username: str, realm: str, password: str, algorithm: int = MD5) -> bytes:
    """Return the long-term key: the digest of username, realm and password (RFC 8489, 9.2.2 and 18.5.1)."""
    text = f"{username}:{realm}:{password}".encode()
    digest = hashlib.sha256(text) if algorithm == SHA256 else hashlib.md5(text, usedforsecurity=False)
    return digest.digest()


def userhash(username: str, realm: str) -> bytes:
    """Return the value of USERHASH: who sends a request, for nobody else to read (RFC 8489, 14.4)."""
    return hashlib.sha256(f"{username}:{realm}".encode()).digest()


def has_integrity(message: Message, key: bytes) -> bool:
    """Tell whether the message was signed with this key; MESSAGE-INTEGRITY-SHA256 decides where it is there.

    RFC 8489, 9.2.4, 14.5 and 14.6.
    """
    if message.integrity_sha256_at >= 0:
        given, covered = _integrity(message.raw, message.integrity_sha256_at)
        expected = mac.sha256(key, covered)[: len(given)]
    elif message.integrity_at >= 0:
        given, covered = _integrity(message.raw, message.integrity_at)
        expected = mac.sha1(key, covered)
    else:
        return False
    return mac.is_same(expected, given)


def _integrity(raw: bytes, at: int) -> tuple[bytes, bytes]:
    """Return the value of an integrity attribute and what it covers."""
    end = at + 4 + int.from_bytes(raw[at + 2 : at + 4])
    # The length in the header counts up to and with the integrity attribute, whatever follows.
    return raw[at + 4 : end], raw[:2] + (end - HEADER_BYTES).to_bytes(2) + raw[4:at]


def encode(message: Message, key: bytes | None = None, *, is_sha256: bool = False) -> bytes:
    """Write a message; with a key it carries one integrity attribute, with `has_fingerprint` a FINGERPRINT at the end.

    Padding is always zero. `raw` and the offsets of the message are not read.
    """
    start, transaction_id = _start(message.method, message.kind), message.transaction_id
    body = b"".join(
        [
            _ATTRIBUTE.pack(attribute, size := len(value)) + value + _PADDING[size & 3]
            for attribute, value in message.attributes
        ]
    )
    if key is not None:
        attribute, size, sign = _SIGNATURES[is_sha256]
        covered = _HEADER.pack(start, len(body) + 4 + size, COOKIE, transaction_id) + body
        integrity = _ATTRIBUTE.pack(attribute, size) + sign(key, covered)
        if not message.has_fingerprint:
            return covered + integrity
        body += integrity
    if message.has_fingerprint:
        covered = _HEADER.pack(start, len(body) + _FINGERPRINT_BYTES, COOKIE, transaction_id) + body
        crc = binascii.crc32(covered) ^ _FINGERPRINT_MASK
        body += _ATTRIBUTE.pack(FINGERPRINT, 4) + crc.to_bytes(4)
    return _HEADER.pack(start, len(body), COOKIE, transaction_id) + body


def _start(method: int, kind: int) -> int:
    """Return the first two bytes of a message as a number: class and method (RFC 8489, 5)."""
    return method & 0x000F | (method & 0x0070) << 1 | (method & 0x0F80) << 2 | (kind & 1) << 4 | (kind & 2) << 7


def is_answer(reply: bytes, method: int, transaction_id: bytes) -> bool:
    """Tell whether these bytes are the success response to a request, without reading them whole."""
    return reply[8:HEADER_BYTES] == transaction_id and reply[:2] == _start(method, SUCCESS).to_bytes(2)


def xor_address(ip: bytes, port: int, transaction_id: bytes) -> bytes:
    """Write the value of XOR-MAPPED-, XOR-PEER- and XOR-RELAYED-ADDRESS (RFC 8489, 14.2)."""
    if len(ip) == 4:
        return _XOR_IPV4.pack(1, port ^ COOKIE >> 16, int.from_bytes(ip) ^ COOKIE)
    masked = (int.from_bytes(ip) ^ int.from_bytes(_COOKIE_BYTES + transaction_id)).to_bytes(len(ip))
    return struct.pack("!xBH", 2, port ^ COOKIE >> 16) + masked


def parse_xor_address(value: bytes, transaction_id: bytes) -> tuple[bytes, int]:
    """Read an XOR address: 4 or 16 bytes of address, and the port.

    Raises: StunError when the length does not fit the family or the family is unknown.
    """
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        raise StunError("malformed XOR address")
    masked = value[4:]
    mask = int.from_bytes((_COOKIE_BYTES + transaction_id)[: len(masked)])
    ip = (int.from_bytes(masked) ^ mask).to_bytes(len(masked))
    return ip, int.from_bytes(value[2:4]) ^ COOKIE >> 16


def plain_address(ip: bytes, port: int) -> bytes:
    """Write the value of ALTERNATE-SERVER, which is not masked (RFC 8489, 14.15)."""
    return struct.pack("!xBH", 1 if len(ip) == 4 else 2, port) + ip


def address_error_code(family: int, code: int, reason: str) -> bytes:
    """Write the value of ADDRESS-ERROR-CODE (RFC 8656, 18.12)."""
    return bytes((family, 0, code // 100, code % 100)) + reason.encode()


def error_code(code: int, reason: str) -> bytes:
    """Write the value of ERROR-CODE; the code is 300-699 (RFC 8489, 14.8)."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def parse_error_code(value: bytes) -> int:
    """Read the code of an ERROR-CODE value.

    Raises: StunError when it is too short or the code is out of range.
    """
    if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise StunError("malformed ERROR-CODE")
    return (value[2] & 7) * 100 + value[3]


def text(value: bytes, most: int) -> str:
    """Read the text of USERNAME, REALM or NONCE.

    Raises: StunError when it is empty, longer than `most` bytes or no UTF-8.
    """
    if not 0 < len(value) <= most:
        raise StunError("text is empty or too long")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise StunError("text is no UTF-8") from error
