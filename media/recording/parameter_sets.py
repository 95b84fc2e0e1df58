"""H.264 parameter sets: found in an access unit, and read for the size of the picture. Pure (ITU-T H.264, 7.3)."""

import msgspec

from media.rtp.packetize import nal_units

_SLICE, _IDR, _SPS, _PPS, _DELIMITER = 1, 5, 7, 8, 9
_HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 138, 139, 134, 244)


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
        if kind == _SPS:
            sps = unit
        elif kind == _PPS:
            pps = unit
        elif _SLICE <= kind <= _IDR:
            break
    return ParameterSets(sps, pps) if sps and pps else None


def sample(data: bytes) -> bytes:
    """An access unit as MP4 holds it: each NAL unit after its length, without parameter sets and delimiters."""
    parts: list[bytes] = []
    for unit in nal_units(data):
        if unit[0] & 31 not in (_SPS, _PPS, _DELIMITER):
            parts += (len(unit).to_bytes(4, "big"), unit)
    return b"".join(parts)


def size(sps: bytes) -> tuple[int, int]:
    """Width and height in pixels that a sequence parameter set tells. Raises: ParameterSetError."""
    try:
        return _size(_Bits(sps[1:].replace(b"\x00\x00\x03", b"\x00\x00")))
    except (IndexError, ValueError):
        raise ParameterSetError("the sequence parameter set is cut off or damaged") from None


class _Bits:
    """Reads bits; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data)
        self._position = 0

    def take(self, count: int) -> int:
        end = self._position + count
        if end > len(self._bits):
            raise IndexError
        text, self._position = self._bits[self._position : end], end
        return int(text, 2)

    def unsigned(self) -> int:
        """Exp-Golomb, ue(v) (9.1)."""
        one = self._bits.index("1", self._position)
        zeros, self._position = one - self._position, one
        return self.take(zeros + 1) - 1

    def signed(self) -> int:
        """Exp-Golomb, se(v) (9.1.1)."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _size(bits: _Bits) -> tuple[int, int]:
    """The seq_parameter_set_data up to its cropping (7.3.2.1.1)."""
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()
    chroma = _chroma(bits) if profile in _HIGH_PROFILES else 1
    bits.unsigned()  # log2_max_frame_num
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    bits.unsigned()  # max_num_ref_frames
    bits.take(1)
    width = (bits.unsigned() + 1) * 16
    map_units = bits.unsigned() + 1
    is_frames = bits.take(1)
    if not is_frames:
        bits.take(1)
    height = map_units * 16 * (2 - is_frames)
    bits.take(1)  # direct_8x8_inference
    if bits.take(1):
        step_x = 2 if chroma in (1, 2) else 1
        step_y = (2 if chroma == 1 else 1) * (2 - is_frames)
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= (left + right) * step_x
        height -= (top + bottom) * step_y
    if width <= 0 or height <= 0 or width > 16_384 or height > 16_384:
        raise ValueError
    return width, height


def _chroma(bits: _Bits) -> int:
    """What profiles above Main have before the frame numbers."""
    chroma = bits.unsigned()
    if chroma == 3:
        bits.take(1)
    bits.unsigned()
    bits.unsigned()
    bits.take(1)
    if bits.take(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling(bits, 16 if number < 6 else 64)
    return chroma


def _skip_scaling(bits: _Bits, count: int) -> None:
    """One scaling list (7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
