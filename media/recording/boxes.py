"""Fragmented MP4 as bytes: an init with H.264 and Opus, and segments of one fragment. Pure.

Sources: ISO/IEC 14496-12 (boxes), 14496-15 (avc1), "Encapsulation of Opus in ISO Base Media File Format".
"""

from collections.abc import Sequence
from struct import pack

import msgspec

from media.recording import parameter_sets
from media.recording.parameter_sets import ParameterSets

VIDEO_HZ = 90_000
AUDIO_HZ = 48_000
VIDEO_TRACK = 1
AUDIO_TRACK = 2
_MATRIX = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_PRE_SKIP = 312  # samples by which libopus delays what it encodes
_KEY, _NOT_KEY = 0x02000000, 0x01010000  # depends on nothing; depends on others and is no place to begin
_BASE_IS_MOOF = 0x020000
_HAS_OFFSET, _HAS_DURATION, _HAS_SIZE, _HAS_FLAGS = 0x1, 0x100, 0x200, 0x400


class Sample(msgspec.Struct, frozen=True):
    """One picture or sound packet as it lies in the file; `duration` in units of its track."""

    data: bytes
    duration: int
    is_key: bool = True


class Run(msgspec.Struct, frozen=True):
    """The samples of one track in a segment, the first at `decode_time` (units of its track)."""

    track: int
    decode_time: int
    samples: Sequence[Sample]


def init(sets: ParameterSets) -> bytes:
    """Return the init that segments of these parameter sets need. Raises: ParameterSetError.

    It has both tracks whether there is sound or not: a player cannot change their number in mid-film.
    """
    width, height = parameter_sets.size(sets.sps)
    tracks = [_video_track(sets, width, height), _audio_track()]
    extends = [_full("trex", 0, 0, pack(">5I", track, 1, 0, 0, 0)) for track in (VIDEO_TRACK, AUDIO_TRACK)]
    header = pack(">4IIHHQ", 0, 0, 1000, 0, 0x10000, 0x100, 0, 0) + _MATRIX + bytes(24) + pack(">I", AUDIO_TRACK + 1)
    brands = b"iso5" + pack(">I", 512) + b"iso5iso6mp41"
    return _box("ftyp", brands) + _box("moov", _full("mvhd", 0, 0, header), *tracks, _box("mvex", *extends))


def segment(number: int, runs: Sequence[Run]) -> bytes:
    """Return one segment: a fragment of these runs; each has a sample."""
    sizes = [sum(len(sample.data) for sample in run.samples) for run in runs]
    length = len(_moof(number, runs, [0] * len(runs)))
    offsets = [length + 8 + sum(sizes[:index]) for index in range(len(runs))]
    parts = [sample.data for run in runs for sample in run.samples]
    kind = _box("styp", b"msdh" + pack(">I", 0) + b"msdhmsix")
    return b"".join((kind, _moof(number, runs, offsets), pack(">I", 8 + sum(sizes)), b"mdat", *parts))


def _box(kind: str, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return pack(">I", 8 + len(body)) + kind.encode() + body


def _full(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, pack(">I", version << 24 | flags), *parts)


def _moof(number: int, runs: Sequence[Run], offsets: Sequence[int]) -> bytes:
    header = _full("mfhd", 0, 0, pack(">I", number & 0xFFFFFFFF))
    return _box("moof", header, *(_traf(run, offset) for run, offset in zip(runs, offsets, strict=True)))


def _traf(run: Run, offset: int) -> bytes:
    fields: list[int] = []
    for sample in run.samples:
        fields += (sample.duration, len(sample.data), _KEY if sample.is_key else _NOT_KEY)
    table = pack(f">IiI{len(fields) - 1}I", len(run.samples), offset, *fields)
    return _box(
        "traf",
        _full("tfhd", 0, _BASE_IS_MOOF, pack(">I", run.track)),
        _full("tfdt", 1, 0, pack(">Q", run.decode_time)),
        _full("trun", 0, _HAS_OFFSET | _HAS_DURATION | _HAS_SIZE | _HAS_FLAGS, table),
    )


def _video_track(sets: ParameterSets, width: int, height: int) -> bytes:
    profile = sets.sps[1:4]
    avcc = b"\x01" + profile + b"\xff\xe1" + pack(">H", len(sets.sps)) + sets.sps + b"\x01"
    avcc += pack(">H", len(sets.pps)) + sets.pps
    if profile[0] in (100, 110, 122, 144):  # 14496-15, 5.3.3.1.2: 4:2:0 of 8 bits is all that is encoded here
        avcc += b"\xfd\xf8\xf8\x00"
    entry = bytes(6) + pack(">H", 1) + bytes(16) + pack(">HHIIIH", width, height, 0x480000, 0x480000, 0, 1)
    entry += bytes(32) + pack(">Hh", 0x18, -1)
    description = _box("avc1", entry, _box("avcC", avcc))
    return _track(VIDEO_TRACK, VIDEO_HZ, (width, height), ("vide", _full("vmhd", 0, 1, bytes(8))), description)


def _audio_track() -> bytes:
    opus = pack(">BBHIhB", 0, 2, _PRE_SKIP, AUDIO_HZ, 0, 0)
    entry = bytes(6) + pack(">H", 1) + bytes(8) + pack(">HHII", 2, 16, 0, AUDIO_HZ << 16)
    description = _box("Opus", entry, _box("dOps", opus))
    return _track(AUDIO_TRACK, AUDIO_HZ, (0, 0), ("soun", _full("smhd", 0, 0, bytes(4))), description)


def _track(track: int, hz: int, size: tuple[int, int], kind: tuple[str, bytes], description: bytes) -> bytes:
    handler, media_header = kind
    volume = 0 if handler == "vide" else 0x100
    shape = pack(">5I4H", 0, 0, track, 0, 0, 0, 0, 0, 0) + pack(">4H", 0, 0, volume, 0) + _MATRIX
    shape += pack(">II", size[0] << 16, size[1] << 16)
    empty = [_full(name, 0, 0, bytes(4)) for name in ("stts", "stsc")]
    empty += [_full("stsz", 0, 0, bytes(8)), _full("stco", 0, 0, bytes(4))]
    table = _box("stbl", _full("stsd", 0, 0, pack(">I", 1), description), *empty)
    data = _box("dinf", _full("dref", 0, 0, pack(">I", 1), _full("url ", 0, 1)))
    media = _box(
        "mdia",
        _full("mdhd", 0, 0, pack(">4IHH", 0, 0, hz, 0, 0x55C4, 0)),
        _full("hdlr", 0, 0, bytes(4), handler.encode(), bytes(12), b"Heliograph\x00"),
        _box("minf", media_header, data, table),
    )
    return _box("trak", _full("tkhd", 0, 7, shape), media)
