"""Pieces begin with a key frame, last about two seconds, and lose no picture and no sound."""

from itertools import pairwise

import msgspec
import pytest

from media.encoders.encoder import AccessUnit
from media.recording.boxes import AUDIO_TRACK, VIDEO_TRACK
from media.recording.cutter import GAP_S, MOST_BYTES, MOST_S, Cutter, Piece
from tests.media.recording.film import STEP, pictures, sounds

EPOCH_S = 1_764_131_051.0  # at monotonic 100 s
OFFSET_S = EPOCH_S - 100
KEY = pictures()[0].data
SILENCE = b"\xfc\xff\xfe"


def unit(number: int, *, is_key: bool = False, data: bytes = b"\x00\x00\x01\x41x") -> AccessUnit:
    return AccessUnit(KEY if is_key else data, number * STEP, is_key, 100 + number / 30)


def sound(at_ms: int, data: bytes = b"sound") -> AccessUnit:
    return AccessUnit(data, at_ms * 48, True, 100 + at_ms / 1000)


def spans(piece: Piece) -> list[tuple[float, float]]:
    """From when to when (s) each track of a piece has something, without a hole between; pictures first."""
    clocks = {VIDEO_TRACK: 90_000, AUDIO_TRACK: 48_000}
    found = []
    for run in piece.runs(-piece.anchor_ms):
        assert all(sample.duration > 0 for sample in run.samples)
        end = run.decode_time + sum(sample.duration for sample in run.samples)
        found.append((run.decode_time / clocks[run.track], end / clocks[run.track]))
    return found


def cut(cutter: Cutter, units: list[AccessUnit], offset_s: float = OFFSET_S) -> list[Piece]:
    return [piece for each in units if (piece := cutter.video(each, offset_s))]


def test_a_piece_asks_for_a_key_frame_after_two_seconds_and_ends_with_it() -> None:
    cutter = Cutter()
    cutter.video(unit(0, is_key=True), OFFSET_S)
    asked = []
    for number in range(1, 90):
        cut(cutter, [unit(number)])
        if cutter.wants_key():
            asked.append(number)
    assert asked == [57, 87], "at 1.9 s, and again after a second without one"
    piece = cutter.video(unit(90, is_key=True), OFFSET_S)
    assert piece is not None
    assert (piece.start_ms, piece.duration_ms, len(piece.video)) == (1_764_131_051_000, 3_000, 90)


def test_a_key_frame_that_others_asked_for_ends_a_piece_of_a_second() -> None:
    cutter = Cutter()
    units = [unit(number, is_key=number in (0, 20, 45)) for number in range(46)]
    (piece,) = cut(cutter, units)
    assert len(piece.video) == 45
    assert not cutter.wants_key()


def test_pieces_join_without_a_gap_and_hold_every_picture_and_sound_once() -> None:
    cutter = Cutter()
    pieces: list[Piece] = []
    waiting = list(sounds())
    for picture in pictures():
        pieces += cut(cutter, [picture])
        while waiting and waiting[0].timestamp / 48_000 <= picture.timestamp / 90_000 - 0.05:  # sound comes late
            cutter.audio(waiting.pop(0))
    last = cutter.flush()
    assert last is not None
    pieces.append(last)
    for earlier, later in pairwise(pieces):
        assert earlier.start_ms + earlier.duration_ms == later.start_ms
    assert [unit for piece in pieces for unit in piece.video] == list(pictures())
    heard = [unit for piece in pieces for unit in piece.audio]
    came = len(sounds()) - len(waiting)
    assert heard[:came] == list(sounds()[:came])
    assert 140 < came < len(heard) == 150, "what was still on its way at the end is silence"


def test_new_parameter_sets_begin_a_piece_at_once() -> None:
    other = pictures(2, 320, 180)[0]
    cutter = Cutter()
    units = [unit(0, is_key=True), unit(1), msgspec.structs.replace(other, timestamp=2 * STEP)]
    (piece,) = cut(cutter, units)
    assert len(piece.video) == 2
    following = cutter.flush()
    assert following is not None
    assert following.sets != piece.sets


def test_nothing_is_kept_before_a_key_frame_and_one_is_asked_for() -> None:
    cutter = Cutter()
    cutter.audio(sounds()[0])
    assert cut(cutter, [unit(0), unit(1)]) == []
    assert cutter.wants_key()
    assert not cutter.wants_key(), "once a second is enough"
    assert cutter.flush() is None


@pytest.mark.parametrize("size", [1, MOST_BYTES // 100])
def test_a_source_without_key_frames_is_cut_by_time_and_by_size(size: int) -> None:
    cutter = Cutter()
    units = [unit(0, is_key=True)] + [unit(number, data=b"x" * size) for number in range(1, 1300)]
    pieces = cut(cutter, units)
    assert pieces
    assert all(len(piece.video) <= MOST_S * 30 for piece in pieces)
    assert all(sum(len(each.data) for each in piece.video) <= MOST_BYTES * 1.02 for piece in pieces)
    assert [not piece.video[0].is_key for piece in pieces] == [False] + [True] * (len(pieces) - 1)


def test_a_source_that_paused_leaves_a_gap() -> None:
    cutter = Cutter()
    cutter.video(unit(0, is_key=True), OFFSET_S)
    cutter.video(unit(1), OFFSET_S)
    cutter.audio(sound(0))
    late = round(30 * GAP_S) + 2
    piece = cutter.video(unit(late), OFFSET_S)
    assert piece is not None
    assert (piece.duration_ms, [unit.data == SILENCE for unit in piece.audio]) == (66, [False, True, True, True])
    assert cutter.wants_key(), "what comes now cannot be decoded without one"
    cutter.video(unit(late + 1, is_key=True), OFFSET_S)
    following = cutter.flush()
    assert following is not None
    assert following.start_ms > piece.start_ms + piece.duration_ms


def test_without_any_sound_each_piece_has_silence_from_its_first_picture_to_its_end() -> None:
    cutter = Cutter()
    pieces = cut(cutter, [unit(number, is_key=number % 60 == 0) for number in range(5, 200)])
    last = cutter.flush()
    assert last is not None
    assert [spans(piece) for piece in (*pieces, last)] == [
        [(2, 4), (2, 4)],
        [(4, 6), (4, 6)],
        [(6, pytest.approx(200 / 30)), (6, pytest.approx(200 / 30, abs=0.02))],
    ]
    assert {each.data for piece in (*pieces, last) for each in piece.audio} == {SILENCE}


def test_a_hole_in_the_sound_is_silence_and_a_long_packet_is_none() -> None:
    cutter = Cutter()
    cut(cutter, [unit(number, is_key=number == 0) for number in range(60)])
    for at_ms in (0, 20, 40, 100, 500, 520):  # the third lasts 60 ms
        cutter.audio(sound(at_ms))
    piece = cutter.video(unit(60, is_key=True), OFFSET_S)
    assert piece is not None
    heard = [each.timestamp // 48 for each in piece.audio if each.data != SILENCE]
    silent = [each.timestamp // 48 for each in piece.audio if each.data == SILENCE]
    assert heard == [0, 20, 40, 100, 500, 520]
    assert silent == [*range(120, 500, 20), *range(540, 2000, 20)]
    assert spans(piece) == [(0, 2), (0, 2)]


def test_sound_that_is_only_late_has_its_place_in_the_next_piece() -> None:
    cutter = Cutter()
    cut(cutter, [unit(number, is_key=number == 0) for number in range(60)])
    for at_ms in range(0, 1100, 20):
        cutter.audio(sound(at_ms))
    first = cutter.video(unit(60, is_key=True), OFFSET_S)
    for at_ms in range(1100, 1300, 20):
        cutter.audio(sound(at_ms))
    cut(cutter, [unit(number) for number in range(61, 120)])
    second = cutter.video(unit(120, is_key=True), OFFSET_S)
    assert first is not None
    assert second is not None
    assert spans(first)[1] == (0, 1.1)
    assert spans(second)[1] == (1.1, 4)
    assert sum(each.data != SILENCE for each in second.audio) == 10


def test_sound_that_comes_after_silence_took_its_place_is_left() -> None:
    cutter = Cutter()
    cut(cutter, [unit(number, is_key=number == 0) for number in range(60)])
    first = cutter.video(unit(60, is_key=True), OFFSET_S)
    for at_ms in (500, 1990, 2010):
        cutter.audio(sound(at_ms))
    last = cutter.flush()
    assert first is not None
    assert last is not None
    assert spans(first)[1] == (0, 2)
    assert [each.timestamp // 48 for each in last.audio if each.data != SILENCE] == [1990, 2010]


@pytest.mark.parametrize(("step_s", "moved_ms"), [(3600, 3_600_000), (-3600, 0), (0.2, 0)])
def test_a_clock_set_forward_moves_what_follows_and_one_set_back_does_not(step_s: float, moved_ms: int) -> None:
    cutter = Cutter()
    units = [unit(number, is_key=number % 60 == 0) for number in range(61)]
    cut(cutter, units[:-1])
    assert cut(cutter, units[-1:], OFFSET_S + step_s)
    following = cutter.flush()
    assert following is not None
    assert following.anchor_ms - round(EPOCH_S * 1000) == moved_ms


def test_sound_without_end_is_bounded() -> None:
    cutter = Cutter()
    cutter.video(unit(0, is_key=True), OFFSET_S)
    for number in range(5_000):
        cutter.audio(AccessUnit(b"x", number * 960, True, 100.0))
    assert len(cutter._audio) == 4_000
