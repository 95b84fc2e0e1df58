"""H.264 access units as MP4 holds them: parameter sets beside, pictures with lengths (ISO/IEC 14496-15). Pure."""

import msgspec

from media.h264 import IDR, PPS, SLICE, SPS, H264Error, nal_units, read_sps

_DELIMITER = 9


class ParameterSetError(Exception):
    """A sequence parameter set cannot be read; the sentence says why."""


class ParameterSets(msgspec.Struct, frozen=True):
    """One sequence and one picture parameter set, as NAL units."""

    sps: bytes
    pps: bytes


def find(data: bytes) -> ParameterSets | None:
    """The parameter sets before the first slice of an access unit; None when not both are there."""
    sps = pps = b""
    for unit in nal_units(data):
        kind = unit[0] & 31
        if kind == SPS:
            sps = unit
        elif kind == PPS:
            pps = unit
        elif SLICE <= kind <= IDR:
            break
    return ParameterSets(sps, pps) if sps and pps else None


def sample(data: bytes) -> bytes:
    """An access unit as MP4 holds it: each NAL unit after its length, without parameter sets and delimiters."""
    parts: list[bytes] = []
    for unit in nal_units(data):
        if unit[0] & 31 not in (SPS, PPS, _DELIMITER):
            parts += (len(unit).to_bytes(4, "big"), unit)
    return b"".join(parts)


def size(sps: bytes) -> tuple[int, int]:
    """Width and height in pixels that a sequence parameter set tells. Raises: ParameterSetError."""
    try:
        read = read_sps(sps)
    except H264Error as error:
        raise ParameterSetError(f"the sequence parameter set is damaged: {error}") from None
    return read.width, read.height
