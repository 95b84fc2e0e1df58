"""Access units into RTP payloads: H.264 (RFC 6184), VP8 (RFC 7741), Opus (RFC 7587). No I/O, no clock."""

from collections.abc import Callable, Iterator, Sequence
from struct import pack

import msgspec

from media.h264 import nal_units

PAYLOAD_LIMIT = 1200
"""Most bytes of one payload; with headers, SRTP and TURN it stays below any path's 1,280 bytes."""

_TYPE_MASK = 0x1F
_NRI_MASK = 0x60
_SEI, _SPS, _PPS, _DELIMITER, _FILLER, _STAP_A, _FU_A = 6, 7, 8, 9, 12, 24, 28
_FU_START, _FU_END = 0x80, 0x40
_PICTURE_IDS = 1 << 15

Packetize = Callable[[bytes], tuple[bytes, ...]]


class PacketizedUnit(msgspec.Struct, frozen=True, gc=False):
    """One access unit as RTP payloads, shared by all viewers.

    `timestamp` counts the codec's RTP clock from the start of the feed, `captured_at` and `packetized_at` are monotonic
    seconds, `ntp` is the 64-bit NTP timestamp of `packetized_at`, `audio_level` is -dBov (0 loudest, 127 silence) or
    None when it was not measured (RFC 6464), `layer` that of the access unit, `runs` as `runs` gives them.
    """

    payloads: tuple[bytes, ...]
    timestamp: int
    is_key: bool
    captured_at: float
    size: int
    audio_level: int | None = None
    layer: int = 0
    packetized_at: float = 0.0
    ntp: int = 0
    runs: tuple[slice, ...] = ()


RUN_PACKETS = 48
_RUN_BYTES = 60_000


def runs(payloads: Sequence[bytes]) -> tuple[slice, ...]:
    """Parts that one system call can send each: equal sizes, only the last one of a part may be shorter.

    At most 48 packets and, headers aside, 60,000 bytes a part: the kernel's bounds are 64 and 65,507.
    """
    parts: list[slice] = []
    begin = 0
    for index in range(1, len(payloads) + 1):
        size = len(payloads[begin])
        if (
            index == len(payloads)
            or len(payloads[index - 1]) < size
            or len(payloads[index]) > size
            or index - begin >= RUN_PACKETS
            or (index - begin + 1) * size > _RUN_BYTES
        ):
            parts.append(slice(begin, index))
            begin = index
    return tuple(parts)


def _parts(size: int, limit: int) -> range:
    """Offsets that cut `size` bytes into as few parts as `limit` allows, all equal but for the last."""
    count = -(-size // limit)
    return range(0, size, -(-size // count))


def _fragments(unit: bytes, limit: int) -> Iterator[bytes]:
    # RFC 6184, 5.8: FU-A. Equal parts, so that one system call can send them (UDP segmentation offload).
    body = len(unit) - 1
    offsets = _parts(body, limit - 2)
    indicator, kind = unit[0] & ~_TYPE_MASK | _FU_A, unit[0] & _TYPE_MASK
    for offset in offsets:
        is_last = offset + offsets.step >= body
        mark = (_FU_START if offset == 0 else 0) | (_FU_END if is_last else 0)
        yield bytes((indicator, mark | kind)) + unit[1 + offset : 1 + offset + offsets.step]


def _single(unit: bytes, limit: int) -> Iterator[bytes]:
    if len(unit) <= limit:
        yield unit
    else:
        yield from _fragments(unit, limit)


def _aggregate(units: list[bytes], limit: int) -> Iterator[bytes]:
    # RFC 6184, 5.7.1: STAP-A; NRI is the highest of its parts.
    if len(units) > 1 and 1 + sum(2 + len(unit) for unit in units) <= limit:
        nri = max(unit[0] & _NRI_MASK for unit in units)
        yield bytes((nri | _STAP_A,)) + b"".join(pack("!H", len(unit)) + unit for unit in units)
    else:
        for unit in units:
            yield from _single(unit, limit)


def h264(data: bytes, limit: int = PAYLOAD_LIMIT) -> tuple[bytes, ...]:
    """Payloads of one Annex-B access unit in packetization mode 1: STAP-A for parameter sets, FU-A where too long.

    Access unit delimiters and filler are left out: RTP marks the borders itself.
    """
    payloads: list[bytes] = []
    small: list[bytes] = []
    for unit in nal_units(data):
        kind = unit[0] & _TYPE_MASK
        if kind in (_DELIMITER, _FILLER):
            continue
        if kind in (_SEI, _SPS, _PPS):
            small.append(unit)
            continue
        payloads.extend(_aggregate(small, limit))
        small.clear()
        payloads.extend(_single(unit, limit))
    payloads.extend(_aggregate(small, limit))
    return tuple(payloads)


class Vp8:
    """Payloads of VP8 frames, each under a descriptor with a 15-bit picture id (RFC 7741, 4.2)."""

    def __init__(self, picture_id: int = 0) -> None:
        self._picture_id = picture_id % _PICTURE_IDS

    def __call__(self, data: bytes) -> tuple[bytes, ...]:
        """Payloads of the next frame, in equal parts."""
        if not data:
            return ()
        tail = pack("!BH", 0x80, 0x8000 | self._picture_id)
        self._picture_id = (self._picture_id + 1) % _PICTURE_IDS
        offsets = _parts(len(data), PAYLOAD_LIMIT - 4)
        return tuple(
            (b"\x90" if offset == 0 else b"\x80") + tail + data[offset : offset + offsets.step] for offset in offsets
        )


def opus(data: bytes) -> tuple[bytes, ...]:
    """The packet as it is (RFC 7587, 4.2)."""
    return (data,) if data else ()
