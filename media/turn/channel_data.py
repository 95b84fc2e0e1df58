"""ChannelData messages: four bytes of header and the data (RFC 8656, 12.4). No I/O, no state."""

FIRST_NUMBER = 0x4000
LAST_NUMBER = 0x4FFF
LAST_LEGACY_NUMBER = 0x7FFE

HEADER_BYTES = 4


class ChannelDataError(Exception):
    """The bytes are no ChannelData message: drop them silently."""


def decode(datagram: memoryview) -> tuple[int, memoryview]:
    """Return the channel number and the data of a UDP datagram; padding behind the data is left out.

    Raises: ChannelDataError when it is shorter than its header says.
    """
    if len(datagram) < HEADER_BYTES:
        raise ChannelDataError("shorter than a header")
    length = datagram[2] << 8 | datagram[3]
    if length > len(datagram) - HEADER_BYTES:
        raise ChannelDataError("data is cut off")
    return datagram[0] << 8 | datagram[1], datagram[HEADER_BYTES : HEADER_BYTES + length]


def header(number: int, length: int) -> bytes:
    """Write the header of a message with `length` bytes of data; over UDP no padding follows."""
    return bytes((number >> 8, number & 0xFF, length >> 8, length & 0xFF))
