"""H.264 byte streams (ITU-T H.264, Annex B): kinds of NAL units, parameter sets, and the other form with lengths."""

from collections.abc import Iterator

_START = b"\x00\x00\x01"
_LONG_START = b"\x00\x00\x00\x01"
_KIND = 0x1F
IDR, SPS, PPS = 5, 7, 8


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and bytes of each NAL unit, without start code."""
    at = data.find(_START)
    while at != -1:
        begin = at + len(_START)
        at = data.find(_START, begin)
        unit = (data[begin:] if at == -1 else data[begin:at]).rstrip(b"\x00")
        if unit:
            yield unit[0] & _KIND, unit


def kinds(data: bytes) -> tuple[int, ...]:
    """Kinds of the NAL units, in order."""
    return tuple(kind for kind, _ in units(data))


def parameter_sets(data: bytes) -> bytes:
    """The SPS and PPS of a byte stream, or of an avcC record (ISO/IEC 14496-15, 5.3.3.1); empty when one is missing."""
    found = list(_of_record(data)) if data[:1] == b"\x01" else list(units(data))
    sets = [(kind, unit) for kind, unit in found if kind in (SPS, PPS)]
    if {kind for kind, _ in sets} != {SPS, PPS}:
        return b""
    return b"".join(_LONG_START + unit for _, unit in sets)


def _of_record(record: bytes) -> Iterator[tuple[int, bytes]]:
    at = 5
    for mask in (0x1F, 0xFF):  # numOfSequenceParameterSets has 5 bits, numOfPictureParameterSets 8
        if at >= len(record):
            return
        count = record[at] & mask
        at += 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2])
            unit = record[at + 2 : at + 2 + size]
            at += 2 + size
            if unit:
                yield unit[0] & _KIND, unit


def with_start_codes(data: bytes) -> bytes:
    """A byte stream from NAL units with lengths of 4 bytes before them; what has start codes already stays.

    A first unit of 1 byte would be taken for a start code: such units do not occur.
    """
    if data.startswith((_START, _LONG_START)):
        return data
    parts = []
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        parts.append(_LONG_START + data[at + 4 : at + 4 + size])
        at += 4 + size
    return b"".join(parts)


class ParameterSets:
    """Remembers SPS and PPS, for encoders that give them once, at the start or beside the stream."""

    def __init__(self, beside: bytes = b"") -> None:
        self._known = parameter_sets(beside)

    def put_before(self, key_frame: bytes) -> bytes:
        """The key frame with its parameter sets before it."""
        own = parameter_sets(key_frame)
        if not own:
            return self._known + key_frame
        self._known = own
        return key_frame
