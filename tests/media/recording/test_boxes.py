"""Recorded film plays in FFmpeg: every picture and every sound at its time."""

import pytest

from media.recording import boxes, parameter_sets
from media.recording.boxes import Run, Sample
from media.recording.cutter import Piece
from tests.media.recording.film import STEP, decode, high_profile, pictures, sounds

ANCHOR_MS = 1_764_131_051_000


def piece(first: int, last: int, sound: tuple[int, int] = (0, 0)) -> Piece:
    units = pictures()[first:last]
    sets = parameter_sets.find(pictures()[0].data)
    assert sets is not None
    return Piece(ANCHOR_MS, sets, units, last * STEP, sounds()[slice(*sound)])


def test_all_pictures_and_sounds_of_two_segments_decode_at_their_times_since_the_epoch() -> None:
    film = [boxes.init(piece(0, 1).sets)]
    film += [boxes.segment(1, piece(0, 30, (0, 50)).runs()), boxes.segment(2, piece(30, 90, (50, 150)).runs())]
    seen, heard = decode(b"".join(film))
    zero = ANCHOR_MS / 1000
    assert seen == pytest.approx([zero + number / 30 for number in range(90)], abs=1e-5)
    assert len(heard) == 150
    assert heard[1:] == pytest.approx([zero + number / 50 for number in range(1, 150)], abs=0.01)


def test_a_segment_plays_alone_after_the_init() -> None:
    film = boxes.init(piece(0, 1).sets) + boxes.segment(7, piece(30, 90).runs(shift_ms=500))
    seen, heard = decode(film)
    assert len(seen) == 60
    assert seen[0] == pytest.approx(ANCHOR_MS / 1000 + 1.5, abs=1e-5)
    assert heard == []


def test_a_high_profile_plays_too() -> None:
    unit = high_profile(160, 90)
    sets = parameter_sets.find(unit)
    assert sets is not None
    run = Run(boxes.VIDEO_TRACK, 0, [Sample(parameter_sets.sample(unit), 3000)])
    assert decode(boxes.init(sets) + boxes.segment(1, [run])) == ([0.0], [])


def test_each_box_is_as_long_as_it_says() -> None:
    data = boxes.init(piece(0, 1).sets)
    data += boxes.segment(3, [Run(1, 0, [Sample(b"abc", 3000), Sample(b"", 1, is_key=False)])])
    kinds = []
    while data:
        length = int.from_bytes(data[:4], "big")
        kinds.append(data[4:8])
        data = data[length:]
    assert kinds == [b"ftyp", b"moov", b"styp", b"moof", b"mdat"]
