import asyncio
import threading
from array import array

import pytest

from media.control.talk import SILENCE
from media.peer.speaker import SpeakerStats
from media.peer.talkback import TALKERS_LIMIT, Mode, Talkback
from tests.media.talking import share_of, tone


class Ear:
    """A speaker that remembers."""

    linger_s = 0.2

    def __init__(self) -> None:
        self.stats = SpeakerStats()
        self.pieces: list[bytes] = []
        self.rests = 0
        self.closed_in = ""
        self.has_heard = threading.Event()

    def write(self, piece: bytes) -> None:
        self.pieces.append(piece)
        if len(self.pieces) == 5:
            self.has_heard.set()

    def rest(self) -> None:
        self.rests += 1

    def close(self) -> None:
        self.closed_in = threading.current_thread().name

    @property
    def sound(self) -> bytes:
        return b"".join(piece for piece in self.pieces if piece != SILENCE)


def talk(talkback: Talkback, *sayings: list[bytes], start: float = 0.0) -> None:
    """Each saying is of a talker of its own; a packet each per 20 ms, and then until nobody is heard any more."""
    talkers = [talkback.join(str(number)) for number in range(len(sayings))]
    for tick in range(max(map(len, sayings)) + 100):
        for talker, saying in zip(talkers, sayings, strict=True):
            assert talker is not None
            talker.put(saying[tick : tick + 1])
        if not talkback.tick(start + tick * 0.02) and tick > max(map(len, sayings)):
            return
    raise AssertionError("it never rests")


def test_what_a_viewer_says_is_heard() -> None:
    ear = Ear()
    talkback = Talkback(ear, Mode.MIX)
    talk(talkback, tone(440, 25))
    assert share_of(440, ear.sound) > 0.9
    assert abs(sum(piece != SILENCE for piece in ear.pieces) - 25) <= 2
    assert ear.rests
    assert talkback.stats.packets == 25


@pytest.mark.parametrize(("mode", "second"), [(Mode.MIX, True), (Mode.FLOOR, False)])
def test_of_two_who_talk_both_or_the_first_is_heard(mode: Mode, second: bool) -> None:
    ear = Ear()
    talk(Talkback(ear, mode), tone(440, 25), tone(1200, 25))
    assert share_of(440, ear.sound) > 0.3
    assert (share_of(1200, ear.sound) > 0.3) is second


def test_silence_does_not_take_the_floor() -> None:
    ear = Ear()
    talk(Talkback(ear, Mode.FLOOR), tone(440, 25, loudness=20), tone(1200, 25))
    assert share_of(1200, ear.sound) > 0.8


def test_packets_that_are_no_opus_are_counted_and_nothing_else() -> None:
    ear = Ear()
    talkback = Talkback(ear, Mode.MIX)
    talk(talkback, [b"\xff" * 3, b"", b"\x03\xff\xff", *tone(440, 20)])
    assert share_of(440, ear.sound) > 0.9
    assert talkback.stats.undecodable >= 1


def test_what_comes_at_once_is_bounded_to_200_ms() -> None:
    ear = Ear()
    talkback = Talkback(ear, Mode.MIX)
    talker = talkback.join("v1")
    assert talker is not None
    talker.put(tone(440, 60))
    assert talkback.stats.dropped_packets == 44
    for tick in range(60):
        talkback.tick(tick * 0.02)
    assert sum(any(array("h", piece)) for piece in ear.pieces) <= 10
    assert talkback.stats.late_bytes > 0


def test_talkers_are_bounded_and_make_room_when_they_leave() -> None:
    talkback = Talkback(Ear(), Mode.MIX)
    talkers = [talkback.join(str(number)) for number in range(TALKERS_LIMIT)]
    assert talkback.join("late") is None
    assert talkers[0] is not None
    talkback.leave(talkers[0])
    talkback.leave(talkers[0])
    assert talkback.join("late") is not None
    assert talkback.stats.refused == 1


async def test_the_thread_plays_in_real_time_and_ends() -> None:
    ear = Ear()
    talkback = Talkback(ear, Mode.MIX)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(talkback.run())
        talker = talkback.join("v1")
        assert talker is not None
        talker.put(tone(440, 5))
        assert await asyncio.to_thread(ear.has_heard.wait, 15)
        task.cancel()
    assert ear.closed_in == "talk-back"  # it may take a while
