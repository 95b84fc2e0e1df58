from array import array

import pytest

from media.control.talk import FLOOR_S, MOST_BYTES, SILENCE, START_BYTES, TICK_BYTES, Floor, TalkBuffer, mix

PIECE = b"\x01" * TICK_BYTES


def test_a_talker_is_heard_after_60_ms_and_without_gaps() -> None:
    buffer = TalkBuffer()
    for tick in range(2):
        buffer.put(PIECE, tick * 0.02)
        assert buffer.take(tick * 0.02) is None
    buffer.put(PIECE, 0.04)
    assert [buffer.take(0.04) for _ in range(4)] == [PIECE, PIECE, PIECE, None]
    buffer.put(PIECE, 0.12)
    assert buffer.take(0.12) is None, "after a gap it fills up again"


def test_the_end_of_a_sentence_is_played_to_its_last_sample() -> None:
    buffer = TalkBuffer()
    buffer.put(PIECE + b"\x02\x02", 0.0)
    assert buffer.take(0.09) is None
    assert buffer.take(0.1) == PIECE
    assert not buffer.is_empty
    assert buffer.take(0.1) == b"\x02\x02".ljust(TICK_BYTES, b"\0")
    assert buffer.take(0.1) is None
    assert buffer.is_empty


def test_no_more_than_200_ms_wait_and_the_oldest_goes() -> None:
    buffer = TalkBuffer()
    buffer.put(PIECE * 10, 0.0)
    assert buffer.dropped_bytes == 0
    buffer.put(SILENCE, 0.0)
    assert buffer.dropped_bytes == MOST_BYTES + TICK_BYTES - START_BYTES
    assert [buffer.take(0.0) for _ in range(3)] == [PIECE, PIECE, SILENCE]


def test_who_comes_first_keeps_the_floor_until_a_second_of_silence() -> None:
    floor = Floor()
    assert floor.take([], 0.0) is None
    assert floor.take(["b", "a"], 1.0) == "b"
    assert floor.take(["a"], 1.5) == "b"
    assert floor.take(["a", "b"], 1.9) == "b"
    assert floor.take(["a"], 1.9 + FLOOR_S) == "a"
    assert floor.take([], 9.0) is None


@pytest.mark.parametrize(
    ("pieces", "sound"),
    [([], [0] * 960), ([[5, -5]], [5, -5]), ([[1, 30000, -30000], [2, 30000, -30000]], [3, 32767, -32768])],
)
def test_sound_is_added_and_clipped(pieces: list[list[int]], sound: list[int]) -> None:
    assert array("h", mix([array("h", piece).tobytes() for piece in pieces])).tolist() == sound
