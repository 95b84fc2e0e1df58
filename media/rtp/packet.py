"""RTP packets that come in: bytes to fields, and numbers that wrap to numbers that do not. No I/O, no clock.

RFC 3550, 5.1; header extensions (RFC 8285) are passed over.
"""

from struct import unpack_from

import msgspec

_HEADER_BYTES = 12


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One RTP packet without CSRCs, extensions and padding; `is_last` is the marker bit.

    `sequence` and `timestamp` are as sent (16 and 32 bits) until a receiver has unwrapped them.
    """

    payload_type: int
    is_last: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Packet | None:
    """The packet in `data`, None when it is none; never raises."""
    if len(data) < _HEADER_BYTES:
        return None
    first, second, sequence, timestamp, ssrc = unpack_from("!BBHLL", data)
    start = _HEADER_BYTES + 4 * (first & 0x0F)
    end = len(data)
    if first & 0x10:  # RFC 3550, 5.3.1: a length in words follows 16 bits of profile
        if start + 4 > end:
            return None
        start += 4 + 4 * int(unpack_from("!H", data, start + 2)[0])
    if first & 0x20:  # the last byte counts the padding, itself included
        end = end - data[-1] if data[-1] else 0
    if first >> 6 != 2 or start > end:
        return None
    return Packet(second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, data[start:end])


def unwrap(value: int, near: int, bits: int) -> int:
    """The number nearest to `near` that is `value` modulo 2**bits; it may be negative."""
    half = 1 << bits - 1
    return near + (value - near + half) % (2 * half) - half
