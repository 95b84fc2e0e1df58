"""What one end of a node link sends to the other, as bytes: numbered messages and acknowledgements. No I/O.

    u8 version, u8 length of node, u16 refused, u32 epoch, u64 base,
    u32 acknowledged epoch, u64 acknowledged, u16 messages;
    node; then per refused: u64 number, u8 verdict; then per message: u32 number - base, u32 length, body

All little-endian. What the numbers mean is in `node_link`, what a body means in `envelope`.
"""

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

BODIES_LIMIT: Final = 256  # messages in one frame
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BBHIQIQH")
_REFUSED: Final = struct.Struct("<QB")
_MESSAGE: Final = struct.Struct("<II")
_HEAD_BYTES: Final = _HEAD.size
_REFUSED_BYTES: Final = _REFUSED.size
_MESSAGE_BYTES: Final = _MESSAGE.size
_read_head: Final = _HEAD.unpack_from
_read_message: Final = _MESSAGE.unpack_from


class LinkFrameError(Exception):
    """These bytes are no frame of a link: a node of another version, or noise on the topic."""


class Frame(msgspec.Struct, frozen=True):
    """One frame: who sent it, what it still waits for, what it has got, and what it says.

    `base` is the lowest number that the sender still waits for. All up to `acknowledged` of the receiver's own epoch
    `acknowledged_epoch` has arrived, and `refused` (number, verdict) of it was not handed over.
    """

    node: str
    epoch: int
    base: int
    acknowledged_epoch: int = 0
    acknowledged: int = 0
    refused: tuple[tuple[int, int], ...] = ()
    messages: tuple[tuple[int, bytes], ...] = ()


class Encoder:
    """Makes the frames of one node."""

    def __init__(self, node: str) -> None:
        self._node = node.encode()
        self._length = len(self._node)
        self._head = struct.Struct(f"{_HEAD.format}{self._length}s")
        self._one = struct.Struct(f"{_HEAD.format}{self._length}sII")  # and the message, most often one

    def encode_one(self, epoch: int, base: int, acknowledged: tuple[int, int], number: int, body: bytes) -> bytes:
        """The bytes of a frame with one message, which most have; as `encode` makes them."""
        ack_epoch, ack = acknowledged
        return (
            self._one.pack(
                _VERSION, self._length, 0, epoch, base, ack_epoch, ack, 1, self._node, number - base, len(body)
            )
            + body
        )

    def encode(
        self,
        epoch: int,
        base: int,
        acknowledged: tuple[int, int],
        refused: Sequence[tuple[int, int]],
        messages: Sequence[tuple[int, bytes]],
    ) -> bytes:
        """The bytes of a frame; `acknowledged` is an epoch and a number, the rest as in Frame."""
        ack_epoch, ack = acknowledged
        parts = [
            self._head.pack(
                _VERSION, self._length, len(refused), epoch, base, ack_epoch, ack, len(messages), self._node
            ),
            *(_REFUSED.pack(number, verdict) for number, verdict in refused),
        ]
        for number, body in messages:
            parts.append(_MESSAGE.pack(number - base, len(body)))
            parts.append(body)
        return b"".join(parts)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    acknowledged = (frame.acknowledged_epoch, frame.acknowledged)
    return Encoder(frame.node).encode(frame.epoch, frame.base, acknowledged, frame.refused, frame.messages)


def decode(payload: bytes) -> Frame:
    """Read a frame. Raises: LinkFrameError."""
    try:
        version, node_length, refused_count, epoch, base, ack_epoch, ack, count = _read_head(payload)
        if version != _VERSION:
            raise ValueError(f"version {version} is not {_VERSION}")
        at = _HEAD_BYTES + node_length
        node = payload[_HEAD_BYTES:at].decode()
        if count == 1 and not refused_count:  # as most are
            offset, length = _read_message(payload, at)
            body = payload[at + _MESSAGE_BYTES :]
            if length != len(body):
                raise ValueError(f"a message of {len(body)} bytes, {length} expected")
            return Frame(node, epoch, base, ack_epoch, ack, (), ((base + offset, body),))
        refused, at = _read_refused(payload, at, refused_count)
        messages = _read_messages(payload, at, base, count)
    except (struct.error, UnicodeError, ValueError) as error:
        raise LinkFrameError(str(error)) from None
    return Frame(node, epoch, base, ack_epoch, ack, refused, messages)


def _read_refused(payload: bytes, at: int, count: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """So many verdicts, and where they end."""
    end = at + count * _REFUSED_BYTES
    return tuple(_REFUSED.unpack_from(payload, start) for start in range(at, end, _REFUSED_BYTES)), end


def _read_messages(payload: bytes, at: int, base: int, count: int) -> tuple[tuple[int, bytes], ...]:
    """So many messages, up to the end."""
    messages = []
    for _ in range(count):
        offset, length = _read_message(payload, at)
        start = at + _MESSAGE_BYTES
        at = start + length
        messages.append((base + offset, payload[start:at]))
    if at != len(payload):
        raise ValueError(f"{len(payload)} bytes, {at} expected")
    return tuple(messages)
