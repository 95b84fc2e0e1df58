"""What signaling nodes say to each other, as opaque bytes for the bus. No I/O."""

from typing import Final

import msgspec

from channels.signaling.mailbox import Mail
from channels.signaling.protocol import Address

EVERY_NODE: Final = "nodes"


class Deliver(msgspec.Struct, frozen=True, tag="deliver"):
    """Hand the mail to its recipient, who holds its slot with this fence."""

    mail: Mail
    fence: int


class Evict(msgspec.Struct, frozen=True, tag="evict"):
    """A newer connection took the slot of this one: close it."""

    connection_id: str
    fence: int


class Collect(msgspec.Struct, frozen=True, tag="collect"):
    """Mail was put into the mailbox while the recipient came in: look again."""

    channel: str
    recipient: Address


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Hand this status frame to the sender of a mail."""

    connection_id: str
    frame: bytes


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """The channel was deleted: close its connections."""

    channel: str
    code: int
    reason: str


Envelope = Deliver | Evict | Collect | Answer | Gone
_decoder: Final[msgspec.msgpack.Decoder[Envelope]] = msgspec.msgpack.Decoder(Envelope)
_encoder: Final = msgspec.msgpack.Encoder()


class EnvelopeError(Exception):
    """These bytes are no envelope: a node of another version, or noise on the topic."""


def inbox(node: str) -> str:
    """The topic on which a node listens."""
    return f"node:{node}"


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope."""
    return _encoder.encode(envelope)


def decode(payload: bytes) -> Envelope:
    """Read an envelope. Raises: EnvelopeError."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise EnvelopeError(str(error)) from None
