"""What signaling nodes say to each other: bodies for the link between two, and notices to all. No I/O.

A body is u8 kind, u16 length of the connection id, the id, and the raw frame where there is one. A connection id
stands for one admission and its fence: nobody else ever has it.
"""

import struct
from typing import Final

import msgspec

EVERY_NODE: Final = "nodes"
_HEAD: Final = struct.Struct("<BH")
_HEAD_BYTES: Final = _HEAD.size
_read_head: Final = _HEAD.unpack_from
_DELIVER: Final = 1
_EVICT: Final = 2
_COLLECT: Final = 3


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """Hand the frame to this connection."""

    connection_id: str
    frame: bytes


class Evict(msgspec.Struct, frozen=True, gc=False):
    """A newer connection took the slot of this one: close it."""

    connection_id: str


class Collect(msgspec.Struct, frozen=True, gc=False):
    """Mail for this connection was put into the mailbox while it came in: look again."""

    connection_id: str


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """To all nodes: the channel was deleted, close its connections."""

    channel: str
    code: int
    reason: str


Body = Deliver | Evict | Collect
_notices: Final[msgspec.msgpack.Decoder[Gone]] = msgspec.msgpack.Decoder(Gone)
_encoder: Final = msgspec.msgpack.Encoder()


class EnvelopeError(Exception):
    """These bytes are nothing of ours: a node of another version, or noise on the topic."""


def inbox(node: str) -> str:
    """The topic on which a node listens."""
    return f"node:{node}"


def address(connection_id: str) -> bytes:
    """What comes before the frame in the body of a Deliver."""
    return _head(_DELIVER, connection_id)


def encode(body: Body) -> bytes:
    """The bytes of a body."""
    if type(body) is Deliver:
        return address(body.connection_id) + body.frame
    return _head(_EVICT if type(body) is Evict else _COLLECT, body.connection_id)


def decode(payload: bytes) -> Body:
    """Read a body. Raises: EnvelopeError."""
    try:
        kind, length = _read_head(payload)
        end = _HEAD_BYTES + length
        connection_id = payload[_HEAD_BYTES:end].decode()
    except (struct.error, UnicodeError) as error:
        raise EnvelopeError(str(error)) from None
    if kind == _DELIVER and len(payload) >= end:
        return Deliver(connection_id, payload[end:])
    if kind in (_EVICT, _COLLECT) and len(payload) == end:
        return Evict(connection_id) if kind == _EVICT else Collect(connection_id)
    raise EnvelopeError(f"kind {kind}, {len(payload)} bytes, {end} expected")


def encode_notice(notice: Gone) -> bytes:
    """The bytes of a notice to all nodes."""
    return _encoder.encode(notice)


def decode_notice(payload: bytes) -> Gone:
    """Read a notice. Raises: EnvelopeError."""
    try:
        return _notices.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise EnvelopeError(str(error)) from None


def _head(kind: int, connection_id: str) -> bytes:
    name = connection_id.encode()
    return _HEAD.pack(kind, len(name)) + name
