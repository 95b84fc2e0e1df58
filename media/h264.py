"""H.264 as bytes: NAL units, what a sequence parameter set says, and parameter sets before each IDR. No codec, no I/O.

Sections and tables are those of ITU-T H.264.
"""

from collections.abc import Iterator

import msgspec

START = b"\0\0\1"
START_CODE = b"\0\0\0\1"
SLICE, IDR, SPS, PPS = 1, 5, 7, 8
"""NAL unit types; 1 to 5 are slices (table 7-1)."""
BASELINE, MAIN, EXTENDED = 66, 77, 88
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_LARGEST_SIDE = 16384
_EXTENDED_SAR = 255
SLOWEST_FPS, FASTEST_FPS = 1, 120
"""What is believed; an encoder for four billion pictures a second does not open."""
_CHROMA_UNITS = {1: (2, 2), 2: (2, 1)}
"""Pixels of one unit of cropping, horizontal and vertical, by chroma_format_idc (table 6-1)."""


class H264Error(ValueError):
    """These bytes are not what they should be."""


class SequenceParameters(msgspec.Struct, frozen=True):
    """What an SPS says. `fps` is None where it tells none to believe; the size is that after cropping."""

    profile: int
    constraints: int
    level: int
    width: int
    height: int
    is_progressive: bool
    fps: float | None

    @property
    def is_baseline(self) -> bool:
        """Whether every Constrained Baseline decoder reads it, as far as an SPS tells; it has no B-frames then."""
        # A.2.1: profile_idc 66, or constraint_set0_flag, the highest bit of the constraints
        claims = self.profile == BASELINE or (self.profile in (MAIN, EXTENDED) and bool(self.constraints & 0x80))
        return claims and self.is_progressive


def nal_units(data: bytes) -> list[bytes]:
    """The NAL units of an Annex-B byte stream, without start codes and trailing zeros (B.1)."""
    found = []
    position = data.find(START)
    while position >= 0:
        begin = position + len(START)
        position = data.find(START, begin)
        unit = (data[begin:] if position < 0 else data[begin:position]).rstrip(b"\0")
        if unit:
            found.append(unit)
    return found


def kind(unit: bytes) -> int:
    """The nal_unit_type of a NAL unit."""
    return unit[0] & 0x1F


def is_key(data: bytes) -> bool:
    """Whether the first slice of an access unit belongs to an IDR picture; looks no further than that slice."""
    position = data.find(START)
    while 0 <= position < len(data) - len(START):
        type_ = data[position + len(START)] & 0x1F
        if SLICE <= type_ <= IDR:
            return type_ == IDR
        position = data.find(START, position + len(START))
    return False


def parameter_sets(extradata: bytes) -> list[bytes]:
    """SPS and PPS out of what a container keeps beside the stream: Annex-B, or an avcC box (ISO/IEC 14496-15, 5.3.3.1).

    Raises: H264Error: it is cut off.
    """
    if not extradata.startswith(b"\1"):
        return [unit for unit in nal_units(extradata) if kind(unit) in (SPS, PPS)]
    if len(extradata) < 7:
        raise H264Error("an avcC box has at least 7 bytes")
    found = []
    position = 5
    for mask in (0x1F, 0xFF):
        count = extradata[position] & mask if position < len(extradata) else 0
        position += 1
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + size]
            if not unit or len(unit) < size:
                raise H264Error("an avcC box is cut off")
            found.append(unit)
            position += 2 + size
    return found


def with_start_codes(data: bytes) -> bytes:
    """A byte stream from NAL units with lengths of 4 bytes before them; what has start codes already stays.

    A first unit of 1 byte would be taken for a start code: such units do not occur.
    """
    if data.startswith((START, START_CODE)):
        return data
    parts = []
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        parts.append(START_CODE + data[at + 4 : at + 4 + size])
        at += 4 + size
    return b"".join(parts)


def read_sps(unit: bytes) -> SequenceParameters:
    """Read a sequence parameter set (7.3.2.1.1).

    Raises: H264Error: it is none, cut off, or of a size beyond all bounds.
    """
    if len(unit) < 4 or kind(unit) != SPS:
        raise H264Error("this is no sequence parameter set")
    profile, constraints, level = unit[1:4]
    bits = _Bits(_without_emulation(unit[4:]))
    bits.ue()  # seq_parameter_set_id
    chroma = _read_chroma(bits) if profile in _HIGH_PROFILES else 1
    bits.ue()  # log2_max_frame_num_minus4
    _skip_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width = 16 * (bits.ue() + 1)
    height_units = bits.ue() + 1
    is_progressive = bool(bits.u(1))
    if not is_progressive:
        bits.u(1)  # mb_adaptive_frame_field_flag
    height = 16 * height_units * (1 if is_progressive else 2)
    bits.u(1)  # direct_8x8_inference_flag
    if bits.u(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
        unit_x, unit_y = _CHROMA_UNITS.get(chroma, (1, 1))
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom) * (1 if is_progressive else 2)
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise H264Error("a sequence parameter set of an impossible size")
    fps = _read_fps(bits) if bits.u(1) else None
    return SequenceParameters(profile, constraints, level, width, height, is_progressive, fps)


def has_slice_groups(unit: bytes) -> bool:
    """Whether a picture parameter set wants flexible macroblock order: Baseline, but not Constrained (A.2.1.1).

    Raises: H264Error: it is none, or cut off.
    """
    if len(unit) < 2 or kind(unit) != PPS:
        raise H264Error("this is no picture parameter set")
    bits = _Bits(_without_emulation(unit[1:]))
    bits.ue()  # pic_parameter_set_id
    bits.ue()  # seq_parameter_set_id
    bits.u(2)  # entropy_coding_mode_flag, bottom_field_pic_order_in_frame_present_flag
    return bits.ue() > 0


class ParameterSets:
    """Keeps the parameter sets of one stream, so that each IDR can be decoded by who comes late."""

    def __init__(self, extradata: bytes = b"") -> None:
        self._kept: dict[int, dict[bytes, bytes]] = {SPS: {}, PPS: {}}
        try:
            self._learn(parameter_sets(extradata))
        except H264Error:  # the stream may bring its own
            return

    @property
    def sps(self) -> SequenceParameters | None:
        """What the newest SPS says; None before there is one that can be read."""
        for unit in reversed(list(self._kept[SPS].values())):
            try:
                return read_sps(unit)
            except H264Error:
                continue
        return None

    @property
    def is_baseline(self) -> bool:
        """Whether the stream can be passed on as it is; False as long as it is not known."""
        sps = self.sps
        if sps is None or not self._kept[PPS]:
            return False
        try:
            return sps.is_baseline and not any(map(has_slice_groups, self._kept[PPS].values()))
        except H264Error:
            return False

    def complete(self, data: bytes) -> bytes | None:
        """An access unit in Annex-B; before an IDR without parameter sets of its own come those kept.

        None for an IDR that nobody could decode, since there are none yet.
        """
        units = list(_before_slices(data))
        own = {kind(unit) for unit in units}
        self._learn(units)
        if not is_key(data) or {SPS, PPS} <= own:
            return data
        if not (self._kept[SPS] and self._kept[PPS]):
            return None
        kept = [*self._kept[SPS].values(), *self._kept[PPS].values()]
        return b"".join(START_CODE + unit for unit in kept) + data

    def _learn(self, units: list[bytes]) -> None:
        for unit in units:
            kept = self._kept.get(kind(unit))
            if kept is None:
                continue
            name = _name(unit)
            if kept.pop(name, unit) != unit and kind(unit) == SPS:
                self._kept[PPS].clear()  # they belonged to the SPS that is replaced
            kept[name] = unit


def _name(unit: bytes) -> bytes:
    """The id of a parameter set, whatever stands for it: equal ids replace each other."""
    try:
        return b"%d" % _Bits(_without_emulation(unit[4:12] if kind(unit) == SPS else unit[1:8])).ue()
    except H264Error:
        return b""


def _before_slices(data: bytes) -> Iterator[bytes]:
    position = data.find(START)
    while 0 <= position < len(data) - len(START):
        begin = position + len(START)
        if SLICE <= data[begin] & 0x1F <= IDR:
            return
        position = data.find(START, begin)
        unit = (data[begin:] if position < 0 else data[begin:position]).rstrip(b"\0")
        if unit:
            yield unit


class _Bits:
    """Reads bits of a payload, highest first (7.2)."""

    def __init__(self, payload: bytes) -> None:
        self._value = int.from_bytes(payload, "big")
        self._left = 8 * len(payload)

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        if count > self._left:
            raise H264Error("a parameter set is cut off")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise H264Error("a number in a parameter set is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number (9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -code // 2


def _without_emulation(payload: bytes) -> bytes:
    """Drop the bytes that keep start codes out of a NAL unit (7.4.1)."""
    return payload.replace(b"\0\0\3", b"\0\0")


def _read_chroma(bits: _Bits) -> int:
    chroma = bits.ue()
    if chroma == 3:
        bits.u(1)  # separate_colour_plane_flag
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.u(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = step = 8
    for _ in range(size):  # 7.3.2.1.1.1
        if step:
            step = (last + bits.se()) % 256
        last = step or last


def _skip_order(bits: _Bits) -> None:
    order = bits.ue()  # pic_order_cnt_type
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        count = bits.ue()
        if count > 255:
            raise H264Error("a sequence parameter set with an impossible order of pictures")
        for _ in range(count):
            bits.se()


def _read_fps(bits: _Bits) -> float | None:
    """Pictures per second out of the usability information, if it tells (E.1.1, E.2.1)."""
    if bits.u(1) and bits.u(8) == _EXTENDED_SAR:
        bits.u(32)
    if bits.u(1):
        bits.u(1)  # overscan_appropriate_flag
    if bits.u(1):
        bits.u(4)  # video_format, video_full_range_flag
        if bits.u(1):
            bits.u(24)
    if bits.u(1):
        bits.ue()
        bits.ue()
    if not bits.u(1):
        return None
    ticks, scale = bits.u(32), bits.u(32)
    fps = scale / (2 * ticks) if ticks else 0.0
    return fps if SLOWEST_FPS <= fps <= FASTEST_FPS else None
