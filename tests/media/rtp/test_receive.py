import operator
import random
from collections.abc import Callable
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.rtp.assemble import Frame
from media.rtp.depacketize import VP8
from media.rtp.feedback import Goodbye, KeyframeRequest, Nack, ReceiverReport, Remb, SenderReport, parse
from media.rtp.packetize import PacketizedUnit, Vp8
from media.rtp.receive import Incoming, IncomingCodec, Receiver
from media.rtp.viewer import Stream, ViewerSender

OURS, THEIRS, THEIR_RTX = 0x11111111, 0x22222222, 0x33333333
VIDEO = Incoming("video", OURS, "us", {96: IncomingCodec("VP8", 90000)}, {97: 96})
PLAIN = Incoming("video", OURS, "us", {96: IncomingCodec("VP8", 90000)})
SOUND = Incoming("audio", OURS, "us", {111: IncomingCodec("opus", 48000)})


def packet(
    sequence: int, payload: bytes = b"\x10\x00", timestamp: int = 0, ssrc: int = THEIRS, kind: int = 96
) -> bytes:
    return pack("!BBHLL", 0x80, 0x80 | kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def events(receiver: Receiver, now: float) -> list[object]:
    return [event for data in receiver.feedback(now) for event in parse(data)]


class Line:
    """Our sender and receiver with a wire between them: 5 ms each way; `loses` tells of each packet."""

    def __init__(self, incoming: Incoming, loses: Callable[[], bool]) -> None:
        rtx = (97, THEIR_RTX) if incoming.repairs else None
        self.sender = ViewerSender(Stream(THEIRS, 96, 90000, "them", rtx=rtx, first_sequence=65500))
        self.receiver = Receiver(incoming)
        self.frames: list[Frame] = []
        self._packetize = Vp8()
        self._loses = loses
        self._wants_key = True

    def run(self, count: int) -> None:
        resends: list[bytes] = []
        for number in range(count):
            now = number / 30
            data = bytes((0 if self._wants_key else 1,)) + number.to_bytes(4, "big") * 900
            unit = PacketizedUnit(self._packetize(data), number * 3000, self._wants_key, now, len(data))
            self._wants_key = False
            heads = self.sender.send(unit, 0)
            for sent in (*resends, *map(operator.add, heads, unit.payloads)):
                if not self._loses():
                    self.frames += self.receiver.receive(sent, now)
            resends = self._answer(now)
            self.frames += self.receiver.expire(now)

    def _answer(self, now: float) -> list[bytes]:
        resends: list[bytes] = []
        for data in self.receiver.feedback(now):
            for event in parse(data):
                reaction = self.sender.receive(event, now + 0.005, 0)
                resends += reaction.packets
                self._wants_key = self._wants_key or reaction.wants_keyframe
        return resends


def test_a_clean_line_gives_every_frame_with_its_last_packet() -> None:
    line = Line(VIDEO, lambda: False)
    line.run(60)
    assert [frame.timestamp for frame in line.frames] == [3000 * number for number in range(60)]
    assert VP8.join(line.frames[7].payloads) == b"\x01" + (7).to_bytes(4, "big") * 900
    assert (line.receiver.stats.nacks, line.receiver.stats.plis, line.receiver.stats.packets_lost) == (0, 0, 0)


@pytest.mark.parametrize("incoming", [VIDEO, PLAIN], ids=["rtx", "plain"])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_what_is_lost_is_repaired_and_counted(incoming: Incoming, share: float) -> None:
    chance = random.Random(7)
    line = Line(incoming, lambda: chance.random() < share)
    line.run(150)
    stats = line.receiver.stats
    assert len(line.frames) >= 145
    assert line.receiver.assembly_stats.packets_given_up == 0
    assert 0 < stats.packets_lost < 2 * share * line.sender.stats.packets
    assert stats.repaired > 0


def test_after_a_long_gap_the_picture_goes_on_with_a_key_frame() -> None:
    sent = iter(range(100_000))
    line = Line(VIDEO, lambda: 30 < next(sent) < 900)
    line.run(400)
    assert line.frames[-1].timestamp == 3000 * 399
    assert [frame.is_key for frame in line.frames].count(True) == 2
    assert line.receiver.stats.plis >= 1


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 1000))
def test_hostile_bytes_never_raise_and_stay_bounded(items: list[bytes], seed: int) -> None:
    chance = random.Random(seed)
    receiver = Receiver(VIDEO)
    for item in items:
        for data in (item, packet(chance.randrange(1 << 16), item, chance.randrange(1 << 32), chance.choice((1, 2)))):
            receiver.receive(data, 0.0)
            receiver.receive(packet(chance.randrange(1 << 16), item, kind=97), 0.0)
        for data in receiver.feedback(0.0):
            parse(data)
    receiver.expire(9.0)


def test_the_bitrate_is_asked_for_with_the_first_packet_and_then_with_each_report() -> None:
    receiver = Receiver(VIDEO)
    assert receiver.feedback(0.0) == []
    assert receiver.next_deadline is None
    receiver.receive(packet(1), 0.0)
    (first,) = events(receiver, 0.0)
    assert isinstance(first, Remb)
    assert (first.ssrcs, 3_000_000 - first.bitrate_bps < 20) == ((THEIRS,), True)
    assert events(receiver, 0.9) == []
    assert receiver.next_deadline == 1.0
    receiver.sender_reported(SenderReport(5, 1 << 40, 0), 0.25)
    receiver.sender_reported(SenderReport(THEIRS, 0x5_0000_0000, 0), 0.5)
    report, remb = events(receiver, 1.0)
    assert report == ReceiverReport(THEIRS, 0.0, 0, 0, 0x50000, 32768)
    assert isinstance(remb, Remb)


def test_a_gap_is_told_at_once_and_a_stream_without_key_frame_asks_for_one() -> None:
    receiver = Receiver(VIDEO)
    receiver.receive(packet(65534), 0.0)
    receiver.feedback(0.0)
    receiver.receive(packet(1, b"\x10\x01", 3000), 0.1)
    assert events(receiver, 0.1) == [Nack(THEIRS, (65535, 0))]
    assert receiver.next_deadline == pytest.approx(0.14)
    assert receiver.expire(0.6) == []
    assert KeyframeRequest(THEIRS) in events(receiver, 0.6)
    assert KeyframeRequest(THEIRS) not in events(receiver, 0.7)
    assert KeyframeRequest(THEIRS) in events(receiver, 1.2)
    assert len(receiver.receive(packet(2, b"\x10\x00", 6000), 1.3)) == 1
    assert KeyframeRequest(THEIRS) not in events(receiver, 2.5)
    receiver.request_keyframe()
    assert KeyframeRequest(THEIRS) in events(receiver, 2.6)


def test_a_stream_that_begins_anew_is_followed_and_noise_is_not() -> None:
    receiver = Receiver(VIDEO)
    assert len(receiver.receive(packet(10), 0.0)) == 1
    assert receiver.receive(packet(500, ssrc=9), 0.0) == []
    assert len(receiver.receive(packet(11), 0.0)) == 1
    assert receiver.receive(packet(40_000), 0.0) == []
    assert len(receiver.receive(packet(12), 0.0)) == 1
    assert receiver.receive(packet(700, ssrc=9), 0.0) == []
    assert len(receiver.receive(packet(701, ssrc=9), 0.0)) == 1
    assert (receiver.ssrc, receiver.stats.restarts, receiver.stats.strange) == (9, 1, 3)


def test_repairs_that_fit_nothing_are_left_out() -> None:
    receiver = Receiver(VIDEO)
    repair = packet(1, pack("!H", 9) + b"\x10\x00", kind=97, ssrc=THEIR_RTX)
    assert receiver.receive(repair, 0.0) == []
    receiver.receive(packet(8), 0.0)
    assert receiver.receive(repair, 0.0) == []
    assert receiver.receive(packet(2, b"", kind=97, ssrc=THEIR_RTX), 0.0) == []
    assert receiver.receive(packet(2, b"x", kind=50), 0.0) == []
    assert (receiver.stats.repaired, receiver.stats.strange) == (0, 2)


def test_sound_is_neither_asked_for_again_nor_given_a_bitrate() -> None:
    receiver = Receiver(SOUND)
    receiver.receive(packet(1, b"a", kind=111), 0.0)
    assert receiver.receive(packet(3, b"c", kind=111), 0.01) == []
    assert events(receiver, 0.02) == []
    assert receiver.next_deadline == pytest.approx(0.07)
    (frame,) = receiver.expire(0.07)
    assert (frame.payloads, frame.lost) == ((b"c",), 1)
    (report,) = events(receiver, 1.1)
    assert isinstance(report, ReceiverReport)


def test_a_goodbye_of_this_stream_ends_it() -> None:
    receiver = Receiver(VIDEO)
    receiver.receive(packet(1), 0.0)
    assert not receiver.said_goodbye(Goodbye((5,)))
    assert receiver.said_goodbye(Goodbye((5, THEIRS)))
    assert receiver.feedback(0.0) == []
    assert receiver.next_deadline is None
