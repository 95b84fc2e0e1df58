"""RTP payloads into frames: H.264 (RFC 6184), VP8 (RFC 7741), Opus (RFC 7587); which of them are key frames.

Whatever the bytes are, nothing is raised. No I/O, no clock.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

_START_CODE = b"\x00\x00\x00\x01"
_TYPE_MASK = 0x1F
_IDR, _SPS, _STAP_A, _FU_A = 5, 7, 24, 28
_FU_START = 0x80


class Form(msgspec.Struct, frozen=True):
    """How one codec travels in RTP.

    `join` makes a frame of the payloads of one, None when they are none (H.264 comes as Annex-B); `starts_key` says
    whether a payload is the first of a key frame, `is_key` whether the payloads hold one.
    """

    join: Callable[[Sequence[bytes]], bytes | None]
    starts_key: Callable[[bytes], bool]
    is_key: Callable[[Sequence[bytes]], bool]


def _aggregated(payload: bytes) -> Iterator[bytes]:
    position = 1
    while position + 2 < len(payload):
        end = position + 2 + (payload[position] << 8 | payload[position + 1])
        if end > len(payload):
            return
        yield payload[position + 2 : end]
        position = end


def _join_h264(payloads: Sequence[bytes]) -> bytes | None:
    parts: list[bytes] = []
    is_open = False
    for payload in payloads:
        kind = payload[0] & _TYPE_MASK if payload else 0
        if kind == _FU_A and len(payload) > 2:
            is_start = bool(payload[1] & _FU_START)
            if is_start == is_open:
                return None
            if is_start:
                parts += (_START_CODE, bytes((payload[0] & ~_TYPE_MASK | payload[1] & _TYPE_MASK,)))
            parts.append(payload[2:])
            is_open = not payload[1] & 0x40
            continue
        if is_open or not 0 < kind <= _STAP_A:
            return None
        for unit in _aggregated(payload) if kind == _STAP_A else (payload,):
            parts += (_START_CODE, unit)
    return None if is_open or not parts else b"".join(parts)


def _starts_key_h264(payload: bytes) -> bool:
    # A key frame begins with its parameter sets, or with the slice whose first_mb_in_slice is 0: ue(v) of one bit 1.
    if len(payload) < 2:
        return False
    kind = payload[0] & _TYPE_MASK
    if kind == _STAP_A:
        return any(unit and unit[0] & _TYPE_MASK in (_IDR, _SPS) for unit in _aggregated(payload))
    if kind == _FU_A:
        return payload[1] & (_FU_START | _TYPE_MASK) == _FU_START | _IDR and payload[2:3] > b"\x7f"
    return kind == _SPS or (kind == _IDR and payload[1] > 0x7F)


def _is_key_h264(payloads: Sequence[bytes]) -> bool:
    return any(_holds_idr(payload) for payload in payloads)


def _holds_idr(payload: bytes) -> bool:
    if len(payload) < 2:
        return False
    kind = payload[0] & _TYPE_MASK
    if kind == _STAP_A:
        return any(unit and unit[0] & _TYPE_MASK == _IDR for unit in _aggregated(payload))
    return kind == _IDR or (kind == _FU_A and payload[1] & _TYPE_MASK == _IDR)


def _descriptor_bytes(payload: bytes) -> int:
    """Length of the VP8 payload descriptor (RFC 7741, 4.2); more than the payload has when it is cut."""
    if not payload or not payload[0] & 0x80:
        return 1
    if len(payload) < 3:
        return len(payload) + 1
    extended = payload[1]
    size = 2 + bool(extended & 0x40) + bool(extended & 0x30)
    if extended & 0x80:
        size += 2 if payload[2] & 0x80 else 1
    return size


def _begins_vp8(payload: bytes) -> bool:
    return bool(payload) and payload[0] & 0x17 == 0x10  # S is set, partition 0


def _join_vp8(payloads: Sequence[bytes]) -> bytes | None:
    if not payloads or not _begins_vp8(payloads[0]):
        return None
    sizes = [_descriptor_bytes(payload) for payload in payloads]
    if any(size >= len(payload) for size, payload in zip(sizes, payloads, strict=True)):
        return None
    return b"".join([payload[size:] for size, payload in zip(sizes, payloads, strict=True)])


def _starts_key_vp8(payload: bytes) -> bool:
    size = _descriptor_bytes(payload)
    return _begins_vp8(payload) and size < len(payload) and not payload[size] & 0x01  # RFC 6386, 9.1


def _join_whole(payloads: Sequence[bytes]) -> bytes | None:
    return payloads[0] if len(payloads) == 1 and payloads[0] else None


H264 = Form(_join_h264, _starts_key_h264, _is_key_h264)
VP8 = Form(_join_vp8, _starts_key_vp8, lambda payloads: bool(payloads) and _starts_key_vp8(payloads[0]))
OPUS = Form(_join_whole, bool, bool)
FORMS = {"H264": H264, "VP8": VP8, "opus": OPUS}
"""By the name that SDP has."""
