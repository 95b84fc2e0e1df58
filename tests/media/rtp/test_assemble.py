from hypothesis import given
from hypothesis import strategies as st

from media.rtp.assemble import FRAME_PACKETS, Assembler, Frame, Window
from media.rtp.depacketize import OPUS, VP8
from media.rtp.packet import Packet

KEY, DELTA, REST = b"\x10\x00", b"\x10\x01", b"\x00\x00"
WINDOW = Window(packets=64, wait_s=0.5)


def video() -> Assembler:
    return Assembler({96: VP8}, WINDOW, has_keyframes=True)


def packet(index: int, timestamp: int, payload: bytes, is_last: bool = True) -> Packet:
    return Packet(96, is_last, index, timestamp, 1, payload)


def stream(frames: int) -> list[Packet]:
    """A key frame of three packets, then delta frames of two."""
    made = [packet(10, 0, KEY, False), packet(11, 0, REST, False), packet(12, 0, REST)]
    for number in range(1, frames):
        made += [packet(11 + 2 * number, number, DELTA, False), packet(12 + 2 * number, number, REST)]
    return made


def test_a_frame_ends_at_its_marker() -> None:
    assembler = video()
    first, second, last = stream(1)
    assert assembler.add(first, 0.0) == assembler.add(second, 0.1) == []
    assert assembler.add(last, 0.2) == [Frame(96, (KEY, REST, REST), 0, True, 0.2)]


@given(st.integers(2, 12).flatmap(lambda count: st.permutations(stream(count)[1:])))
def test_any_order_gives_the_frames_in_order(rest: list[Packet]) -> None:
    assembler = video()
    frames = assembler.add(packet(10, 0, KEY, False), 0.0)
    for one in rest:
        frames += assembler.add(one, 0.0)
        frames += assembler.add(one, 0.0)
    assert [frame.timestamp for frame in frames] == list(range(len(rest) // 2))
    assert assembler.stats.packets_unneeded == len(rest)
    assert assembler.next_deadline is None


@given(st.integers(3, 12).flatmap(lambda n: st.lists(st.sampled_from(stream(n)), unique_by=lambda one: one.sequence)))
def test_whatever_is_lost_only_whole_frames_on_whole_ones_come_out(kept: list[Packet]) -> None:
    assembler = video()
    frames = [frame for one in kept for frame in assembler.add(one, 0.0)] + assembler.expire(9.0)
    assert [frame.timestamp for frame in frames] == list(range(len(frames)))
    assert not frames or frames[0].is_key


def test_a_hole_is_given_up_in_time_and_a_key_frame_is_needed() -> None:
    assembler = video()
    made = stream(3)
    frames = [frame for one in made[:3] + made[4:] for frame in assembler.add(one, 1.0)]
    assert len(frames) == 1
    assert assembler.next_deadline == 1.5
    assert assembler.expire(1.4) == []
    assert not assembler.needs_keyframe
    assert assembler.expire(1.5) == []
    assert assembler.needs_keyframe
    assert assembler.stats.packets_given_up == 1
    (key,) = assembler.add(packet(17, 3, KEY), 1.6)
    assert (key.is_key, key.lost) == (True, 1)
    assert not assembler.needs_keyframe


def test_a_hole_is_given_up_when_too_many_wait() -> None:
    assembler = video()
    assembler.add(packet(0, 0, KEY), 0.0)
    for index in range(2, 80):
        assembler.add(packet(index, index, KEY if index == 60 else DELTA), 0.0)
    assert assembler.stats.packets_given_up == 1
    assert assembler.stats.frames == 21


def test_a_join_in_mid_frame_waits_for_a_key_frame() -> None:
    assembler = video()
    assert assembler.add(packet(5, 9, REST, False), 0.0) == []
    assert assembler.needs_keyframe
    assert assembler.add(packet(6, 9, REST), 0.0) == []
    assert assembler.add(packet(7, 10, DELTA), 0.0) == []
    assert [frame.is_key for frame in assembler.add(packet(8, 11, KEY), 0.0)] == [True]


def test_padding_fills_its_number_and_is_of_no_frame() -> None:
    assembler = video()
    assert len(assembler.add(packet(1, 0, KEY), 0.0)) == 1
    assert assembler.add(packet(2, 0, b"", False), 0.0) == []
    assert len(assembler.add(packet(3, 1, DELTA), 0.0)) == 1


def test_a_sender_without_markers_ends_a_frame_by_the_next_timestamp() -> None:
    assembler = video()
    assert assembler.add(packet(1, 7, KEY, False), 0.0) == []
    assert [frame.timestamp for frame in assembler.add(packet(2, 8, DELTA, False), 0.0)] == [7]


def test_a_frame_without_end_is_dropped() -> None:
    assembler = video()
    for index in range(FRAME_PACKETS + 2):
        assembler.add(packet(index, 0, KEY if index == 0 else REST, False), 0.0)
    assert assembler.stats.frames_dropped == 1
    assert not assembler._parts


def test_sound_goes_on_behind_a_hole_and_says_how_much_is_lost() -> None:
    assembler = Assembler({96: OPUS}, Window(16, 0.06), has_keyframes=False)
    assert [frame.lost for frame in assembler.add(packet(1, 0, b"a", False), 0.0)] == [0]
    assert assembler.add(packet(4, 3, b"d"), 0.01) == []
    assert [(frame.timestamp, frame.lost) for frame in assembler.expire(0.07)] == [(3, 2)]
    assert not assembler.needs_keyframe
