"""Where datagrams lie between receive and send, and how the few hot messages read there. No I/O, no state.

A slot is seen as bytes and as numbers of 16, 32 and 64 bits in the order of this machine: one look instead of a parse.
What it cannot tell at a glance is left to the codec.
"""

import struct
import sys
from array import array

from media.turn import stun

HEADROOM = 40
"""Bytes in front of what a peer sent, for the header of a Data indication or of ChannelData, which then stand in one
piece with the data."""

SLOT_BYTES = 65536 + 1280
"""A slot holds the largest datagram behind the headroom: a smaller one would cut silently. The begins of slots lie in
different lines of the processor's cache."""


class Slots:
    """Room for datagrams. `views` are the slots as bytes, the rest is all of them as numbers of 16, 32 and 64 bits."""

    def __init__(self, count: int) -> None:
        self.whole = bytearray(count * SLOT_BYTES)
        view = memoryview(self.whole)
        self.views = [view[at : at + SLOT_BYTES] for at in range(0, count * SLOT_BYTES, SLOT_BYTES)]
        self.half, self.word, self.quad = view.cast("H"), view.cast("I"), view.cast("Q")

    def halves(self, at: int, count: int) -> list[int]:
        """Return the number of 16 bits at this place of each of the first slots."""
        return self.half[at : count * HALVES : HALVES].tolist()


HALVES, WORDS, QUADS = SLOT_BYTES // 2, SLOT_BYTES // 4, SLOT_BYTES // 8


def in_memory(number: int) -> int:
    """Return what a 16-bit number of the network reads as where it lies in memory."""
    return int.from_bytes(number.to_bytes(2), sys.byteorder)


def send_key(peer: bytes) -> int:
    """Return what an XOR-PEER-ADDRESS of 8 bytes reads as in memory."""
    return int.from_bytes(peer, sys.byteorder)


IN_MEMORY = array("H", map(in_memory, range(1 << 16)))
"""Number of the network to number in memory, and back."""

CHANNEL_LENGTHS = array("i", [-1] * 4 + [in_memory(size) for size in range((1 << 16) - 4)])
"""Size of a datagram to the length in memory that ChannelData without padding has, -1 where it is too short."""

SEND_HEAD_BYTES = 36
DATA_AT = HEADROOM - SEND_HEAD_BYTES
CHANNEL_AT = HEADROOM - 4
NUMBER_AT, LENGTH_AT = CHANNEL_AT // 2, CHANNEL_AT // 2 + 1
_SEND_TYPE = 0x0016
_MOST_SEND_BYTES = 1500
_COOKIE = int.from_bytes(stun.COOKIE.to_bytes(4), sys.byteorder)
_PEER_HEAD = int.from_bytes(struct.pack("!HH", stun.XOR_PEER_ADDRESS, 8), sys.byteorder)
_DATA_HEAD = struct.Struct("!HHI4sQ14sH")
_SERIAL_AT = (DATA_AT + 12) // 8
_DATA_TYPE = 0x0017
_DATA_SIZES = {
    int.from_bytes(struct.pack("!HH", stun.DATA, size), sys.byteorder): size for size in range(_MOST_SEND_BYTES + 1)
}
_SEND_HEADS = [
    int.from_bytes(struct.pack("!HH", _SEND_TYPE, 16 + (size + 3 & ~3)), sys.byteorder)
    for size in range(_MOST_SEND_BYTES + 1)
]
"""How a Send indication begins whose data has this size."""

_PADDING = (b"", bytes(3), bytes(2), bytes(1))


def send_size(slots: Slots, index: int, length: int) -> int:
    """Return the size of the data of a Send indication from offset 36 on, -1 unless it is of the common form.

    That is: XOR-PEER-ADDRESS of IPv4, then DATA that fits a packet of the internet, and nothing else.
    """
    word, at = slots.word, index * WORDS
    if length < SEND_HEAD_BYTES or word[at + 5] != _PEER_HEAD or word[at + 1] != _COOKIE:
        return -1
    size = _DATA_SIZES.get(word[at + 8], -1)
    return size if SEND_HEAD_BYTES + (size + 3 & ~3) == length and word[at] == _SEND_HEADS[size] else -1


def data_head(size: int, indication: bytes, seed: bytes) -> bytes:
    """Return the first bytes of a Data indication of `size` bytes, up to them; the serial in it is zero.

    `indication` is its XOR-PEER-ADDRESS with the header, and the type of DATA; `seed` begins its transaction id.
    """
    length = SEND_HEAD_BYTES - stun.HEADER_BYTES + (size + 3 & ~3)
    return _DATA_HEAD.pack(_DATA_TYPE, length, stun.COOKIE, seed, 0, indication, size)


def write_data(slots: Slots, index: int, head: bytes, size: int, serial: int) -> memoryview:
    """Make a Data indication of `size` bytes that lie behind the headroom and return it.

    `serial` ends its transaction id, in the order of this machine.
    """
    view, end = slots.views[index], HEADROOM + size
    if size & 3:
        padding = _PADDING[size & 3]
        view[end : end + len(padding)] = padding
        end += len(padding)
    view[DATA_AT:HEADROOM] = head
    slots.quad[index * QUADS + _SERIAL_AT] = serial
    return view[DATA_AT:end]
