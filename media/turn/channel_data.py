"""ChannelData messages: four bytes of header and the data (RFC 8656, 12.4). No I/O, no state."""

import struct

FIRST_NUMBER = 0x4000
LAST_NUMBER = 0x4FFF
LAST_LEGACY_NUMBER = 0x7FFE

HEADER_BYTES = 4


class ChannelDataError(Exception):
    """The bytes are no ChannelData message: drop them silently."""


_HEADER = struct.Struct("!HH")
_unpack, _pack = _HEADER.unpack_from, _HEADER.pack


def decode(datagram: memoryview) -> tuple[int, memoryview]:
    """Return the channel number and the data of a UDP datagram; padding behind the data is left out.

    Raises: ChannelDataError when it is shorter than its header says.
    """
    if len(datagram) < HEADER_BYTES:
        raise ChannelDataError("shorter than a header")
    number, length = _unpack(datagram)
    data = datagram[HEADER_BYTES : HEADER_BYTES + length]
    if len(data) != length:
        raise ChannelDataError("data is cut off")
    return number, data


def header(number: int, length: int) -> bytes:
    """Write the header of a message with `length` bytes of data; over UDP no padding follows."""
    return _pack(number, length)
