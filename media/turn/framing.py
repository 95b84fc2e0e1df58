"""Where messages begin and end in the bytes of a stream (RFC 8489, 6.2.2; RFC 8656, 12.5). No I/O, no state."""

import struct
import sys

from media.turn.channel_data import LAST_NUMBER
from media.turn.stun import COOKIE

BROKEN = -1

MOST_BYTES = 20 + 0xFFFC
"""The longest message, with its header: longer than any ChannelData and its padding."""

TLS_HANDSHAKE = 22
LAST_OF_STUN = 3
FIRST_OF_CHANNELS = 0x40

_length_at = struct.Struct("!H").unpack_from
_cookie_at = struct.Struct("!I").unpack_from


def cut(
    data: memoryview, last_of_channels: int = LAST_NUMBER >> 8, most: int = sys.maxsize
) -> tuple[list[memoryview], int]:
    """Return the whole messages in `data`, at most so many, and how many bytes they take; the next begins behind.

    The padding of ChannelData is left out. BROKEN instead of the count: what follows the messages is no message, so
    the stream has lost its way and must be closed. `last_of_channels` is the greatest first byte of a ChannelData
    message. How the stream is cut into `data` changes nothing.
    """
    messages: list[memoryview] = []
    at, end = 0, len(data)
    while at < end and len(messages) < most:
        first = data[at]
        if FIRST_OF_CHANNELS <= first <= last_of_channels:
            if end - at < 4:
                return messages, at
            last = at + 4 + _length_at(data, at + 2)[0]
            # RFC 8656, 12.5: over a stream the data is padded to 4 bytes
            next_at = at + (last - at + 3 & ~3)
        else:
            length = _stun_bytes(data, at, end)
            if length == BROKEN:
                return messages, BROKEN
            last = next_at = at + length
        if next_at > end:
            return messages, at
        messages.append(data[at:last])
        at = next_at
    return messages, at


def _stun_bytes(data: memoryview, at: int, end: int) -> int:
    """Length of the STUN message at `at`, at least that of a header; BROKEN when there is none."""
    if data[at] > LAST_OF_STUN:
        return BROKEN
    length = _length_at(data, at + 2)[0] if end - at >= 4 else 0
    if length & 3 or (end - at >= 8 and _cookie_at(data, at + 4)[0] != COOKIE):
        return BROKEN
    return 20 + int(length)
