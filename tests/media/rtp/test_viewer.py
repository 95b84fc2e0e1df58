import itertools
from collections.abc import Sequence
from struct import unpack

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket, RtpPacket, unwrap_rtx
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from media.rtp.feedback import KeyframeRequest, Nack, ReceiverReport, Remb
from media.rtp.header import ExtensionIds
from media.rtp.history import HISTORY_PACKETS
from media.rtp.packetize import PacketizedUnit
from media.rtp.viewer import (
    NEXT,
    RESENDS_LEAST,
    RESENDS_PART,
    RESENDS_PER_SECOND,
    Mode,
    Stream,
    Turn,
    ViewerSender,
)

NTP = 0xE000_0000_0000_0000
SSRC, RTX_SSRC = 77, 78


def unit(timestamp: int = 0, *, is_key: bool = False, payloads: tuple[bytes, ...] = (b"a", b"b")) -> PacketizedUnit:
    return PacketizedUnit(payloads, timestamp, is_key, timestamp / 90000, sum(map(len, payloads)))


def sender(**changes: object) -> ViewerSender:
    values: dict[str, object] = {"ssrc": SSRC, "payload_type": 96, "clock_rate": 90000, "cname": "master", **changes}
    return ViewerSender(Stream(**values))  # type: ignore[arg-type]


def whole(viewer: ViewerSender, unit: PacketizedUnit) -> list[bytes]:
    return [head + payload for head, payload in zip(viewer.send(unit, NTP), unit.payloads, strict=True)]


def parsed(packets: Sequence[bytes]) -> list[RtpPacket]:
    return [RtpPacket.parse(packet) for packet in packets]


def test_a_viewer_gets_nothing_before_the_first_key_frame() -> None:
    viewer = sender()
    assert viewer.send(unit(0), NTP) == ()
    assert viewer.stats.units_waited == 1
    assert len(viewer.send(unit(3000, is_key=True), NTP)) == 2
    assert len(viewer.send(unit(6000), NTP)) == 2


def test_sound_starts_at_once() -> None:
    assert len(sender(has_keyframes=False).send(unit(payloads=(b"opus",)), NTP)) == 1


def test_only_the_last_packet_of_a_unit_carries_the_marker() -> None:
    assert [packet.marker for packet in parsed(sender().send(unit(is_key=True), NTP))] == [0, 1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_sequence_numbers_have_no_gap_and_timestamps_keep_their_distance(
    sizes: list[int], first: int, offset: int
) -> None:
    viewer = sender(first_sequence=first, timestamp_offset=offset)
    packets = []
    for index, size in enumerate(sizes):
        sent = unit(index * 3000, is_key=index == 0, payloads=(b"x",) * size)
        packets += parsed(viewer.send(sent, NTP))
    assert [packet.sequence_number for packet in packets] == [(first + n) % 65536 for n in range(sum(sizes))]
    expected = [(offset + index * 3000) % 2**32 for index, size in enumerate(sizes) for _ in range(size)]
    assert [packet.timestamp for packet in packets] == expected


def test_a_full_path_pauses_until_the_next_key_frame_without_a_gap_in_the_numbers() -> None:
    viewer = sender()
    viewer.send(unit(0, is_key=True), NTP)
    viewer.skip()
    assert viewer.mode is Mode.WAITING
    assert viewer.send(unit(3000), NTP) == ()
    (first, _) = parsed(viewer.send(unit(6000, is_key=True), NTP))
    assert first.sequence_number == 2
    assert viewer.stats.units_skipped == 1


def test_what_is_paused_anyway_is_not_counted_as_skipped() -> None:
    viewer = sender()
    viewer.turn(Turn.PAUSE)
    viewer.skip()
    assert (viewer.mode, viewer.stats.units_skipped, viewer.stats.units_left_out) == (Mode.PAUSED, 0, 1)


def test_lost_packets_come_again_in_the_rtx_stream() -> None:
    viewer = sender(rtx=(97, RTX_SSRC), first_sequence=100)
    sent = whole(viewer, unit(0, is_key=True))
    (again,) = viewer.receive(Nack(SSRC, (101,)), 1.0, NTP).packets
    repair = RtpPacket.parse(again)
    assert (repair.payload_type, repair.ssrc) == (97, RTX_SSRC)
    original, restored = RtpPacket.parse(sent[1]), unwrap_rtx(repair, payload_type=96, ssrc=SSRC)
    for field in ("sequence_number", "timestamp", "marker", "payload", "payload_type", "ssrc"):
        assert getattr(original, field) == getattr(restored, field)
    assert (viewer.stats.retransmitted_packets, viewer.stats.retransmitted_bytes) == (1, 1)


def test_rtx_numbers_rise_by_one() -> None:
    viewer = sender(rtx=(97, RTX_SSRC), first_sequence=65535)
    viewer.send(unit(0, is_key=True), NTP)
    packets = parsed(viewer.receive(Nack(SSRC, (65535, 0)), 1.0, NTP).packets)
    assert [packet.sequence_number for packet in packets] == [65535, 0]


def test_without_rtx_the_very_same_bytes_go_again() -> None:
    viewer = sender(ids=ExtensionIds(abs_send_time=3))
    sent = whole(viewer, unit(0, is_key=True))
    assert viewer.receive(Nack(SSRC, (0, 1)), 1.0, NTP + (5 << 32)).packets == sent


def test_a_packet_is_sent_again_at_most_once_per_round_trip() -> None:
    viewer = sender()
    viewer.send(unit(0, is_key=True), NTP)
    nack = Nack(SSRC, (0,))
    assert len(viewer.receive(nack, 1.0, NTP).packets) == 1
    assert viewer.receive(nack, 1.04, NTP).packets == []
    assert len(viewer.receive(nack, 1.06, NTP).packets) == 1


def test_what_left_the_history_or_was_never_sent_is_not_resent() -> None:
    viewer = sender()
    for index in range(HISTORY_PACKETS + 1):
        viewer.send(unit(index, is_key=True, payloads=(b"x",)), NTP)
    assert viewer.receive(Nack(SSRC, (0, 40000)), 1.0, NTP).packets == []
    assert len(viewer.receive(Nack(SSRC, (1, HISTORY_PACKETS)), 1.0, NTP).packets) == 2


def test_a_viewer_that_asks_too_much_is_held_to_the_bound() -> None:
    viewer = sender()
    for index in range(HISTORY_PACKETS):
        viewer.send(unit(index, is_key=True, payloads=(b"x",)), NTP)
    everything = Nack(SSRC, tuple(range(HISTORY_PACKETS)))
    assert len(viewer.receive(everything, 1.0, NTP).packets) == RESENDS_PER_SECOND
    assert viewer.stats.resend_refused == HISTORY_PACKETS - RESENDS_PER_SECOND
    assert viewer.receive(everything, 2.1, NTP).packets


def test_no_more_is_sent_again_than_a_part_of_what_is_sent() -> None:
    viewer = sender()
    for index in range(100):
        viewer.send(unit(index, is_key=True, payloads=(b"x",)), NTP)
    viewer.receive(Nack(SSRC, (0,)), 10.0, NTP)
    for index in range(100, 200):
        viewer.send(unit(index, is_key=True, payloads=(b"x",)), NTP)
    everything = Nack(SSRC, tuple(range(200)))
    assert len(viewer.receive(everything, 12.0, NTP).packets) == RESENDS_LEAST + RESENDS_PART * 50
    assert len(viewer.receive(everything, 13.0, NTP).packets) == RESENDS_LEAST


def test_nothing_of_another_layer_is_sent_again() -> None:
    viewer = sender()
    viewer.send(unit(0, is_key=True), NTP)
    viewer.send(replace(unit(3000, is_key=True), layer=1), NTP)
    (again,) = viewer.receive(Nack(SSRC, (0, 1, 2)), 1.0, NTP).packets
    assert parsed([again])[0].sequence_number == 2


def test_sound_keeps_no_history() -> None:
    viewer = sender(has_keyframes=False, keeps_history=False)
    viewer.send(unit(payloads=(b"opus",)), NTP)
    assert viewer.receive(Nack(SSRC, (0,)), 1.0, NTP).packets == []


def test_who_asks_for_ever_more_key_frames_gets_one_a_second() -> None:
    viewer = sender()
    wishes = [viewer.receive(KeyframeRequest(SSRC), 100.0 + tick / 10, NTP).wants_keyframe for tick in range(100)]
    assert (wishes[:5], sum(wishes[50:])) == ([True] * 5, 5)
    assert viewer.stats.wishes_refused == 100 - sum(wishes)


def test_a_key_frame_request_is_passed_on() -> None:
    viewer = sender()
    assert viewer.receive(KeyframeRequest(SSRC), 1.0, NTP).wants_keyframe
    assert viewer.receive(KeyframeRequest(SSRC, is_fir=True), 1.0, NTP).wants_keyframe
    viewer.receive(Nack(SSRC, (1, 2)), 1.0, NTP)
    assert (viewer.stats.plis, viewer.stats.firs, viewer.stats.nacks) == (1, 1, 1)


def test_reports_give_loss_and_round_trip_and_the_wanted_bitrate() -> None:
    viewer = sender()
    now = NTP + (10 << 32)
    sent_at = ((now - (1 << 32)) >> 16) & 0xFFFFFFFF
    viewer.receive(ReceiverReport(SSRC, 0.5, 12, 3, sent_at, 65536 // 2), 1.0, now)
    assert viewer.stats.rtt_s == pytest.approx(0.5)
    assert (viewer.stats.fraction_lost, viewer.stats.packets_lost) == (0.5, 12)
    viewer.receive(Remb(900_000, (SSRC,)), 1.0, now)
    assert viewer.stats.remb_bps == 900_000


def test_the_playout_delay_goes_with_each_packet_and_follows_the_reports() -> None:
    viewer = sender(ids=ExtensionIds(playout_delay=5), rtx=(97, RTX_SSRC), first_sequence=1)
    assert all(b"\x52\x00\x00\x00" in packet for packet in viewer.send(unit(0, is_key=True), NTP))
    viewer.receive(ReceiverReport(SSRC, 0.0, 0, 90_000 // 20, 0, 0), 1.0, NTP)
    assert all(b"\x52\x00\x03\xe8" in packet for packet in viewer.send(unit(3000), NTP))
    (again,) = viewer.receive(Nack(SSRC, (1,)), 1.0, NTP).packets
    assert b"\x52\x00\x03\xe8" in again


def test_a_round_trip_that_cannot_be_is_ignored() -> None:
    viewer = sender()
    viewer.receive(ReceiverReport(SSRC, 0.0, 0, 0, 1, 0), 1.0, NTP)
    viewer.receive(ReceiverReport(SSRC, 0.0, 0, 0, 0, 0), 1.0, NTP)
    assert viewer.stats.rtt_s is None


def test_the_sender_report_tells_the_time_of_this_moment_in_both_clocks() -> None:
    viewer = sender(timestamp_offset=1000)
    assert viewer.report(0.0, NTP) is None
    viewer.send(unit(90000, is_key=True), NTP)  # captured at 1.0 s
    report, description = RtcpPacket.parse(viewer.report(1.5, NTP) or b"")
    assert isinstance(report, RtcpSrPacket)
    assert isinstance(description, RtcpSdesPacket)
    assert report.sender_info.ntp_timestamp == NTP
    assert report.sender_info.rtp_timestamp == 1000 + 90000 + 45000
    assert (report.sender_info.packet_count, report.sender_info.octet_count) == (2, 2)
    assert description.chunks[0].items == [(1, b"master")]


@given(st.text(max_size=300))
def test_any_name_makes_a_readable_description(cname: str) -> None:
    viewer = sender(cname=cname)
    viewer.send(unit(0, is_key=True), NTP)
    packet = viewer.report(1.0, NTP) or b""
    assert len(packet) % 4 == 0
    assert len(RtcpPacket.parse(packet)) == 2


def test_goodbye_names_the_stream_behind_a_report_and_its_name() -> None:
    report, description, goodbye = RtcpPacket.parse(sender().goodbye())
    assert isinstance(report, RtcpRrPacket)
    assert isinstance(description, RtcpSdesPacket)
    assert isinstance(goodbye, RtcpByePacket)
    assert goodbye.sources == [SSRC]
    assert unpack("!L", sender().goodbye()[4:8]) == (SSRC,)


def test_every_mode_takes_every_order_and_none_comes_back_from_the_end() -> None:
    orders = (Turn.RESUME, Turn.THIN, Turn.PAUSE, Turn.END)
    assert all((mode, order) in NEXT for mode in Mode if mode is not Mode.GONE for order in orders)
    assert {after for (mode, _), after in NEXT.items() if mode is Mode.GONE} == {Mode.GONE}
    viewer = sender()
    viewer.turn(Turn.END)
    assert viewer.send(unit(0, is_key=True), NTP) == ()
    assert viewer.stats.units_left_out == 1
    with pytest.raises(KeyError):
        viewer.turn(Turn.RESUME)


def test_a_thinned_viewer_gets_key_frames_only_and_full_pictures_from_the_next_one_on() -> None:
    viewer = sender()
    viewer.send(unit(0, is_key=True), NTP)
    viewer.turn(Turn.THIN)
    assert viewer.send(unit(3000), NTP) == ()
    assert len(viewer.send(unit(6000, is_key=True), NTP)) == 2
    viewer.turn(Turn.RESUME)
    assert viewer.mode is Mode.WAITING
    assert viewer.send(unit(9000), NTP) == ()
    viewer.send(unit(12000, is_key=True), NTP)
    assert viewer.mode is Mode.LIVE


def test_sound_resumes_without_a_key_frame() -> None:
    viewer = sender(has_keyframes=False)
    viewer.turn(Turn.PAUSE)
    assert viewer.send(unit(0), NTP) == ()
    viewer.turn(Turn.RESUME)
    assert viewer.mode is Mode.LIVE


@given(st.lists(st.integers(-9000, 9000), min_size=2, max_size=20))
def test_timestamps_rise_over_any_order_of_layers(steps: list[int]) -> None:
    viewer, position, stamps = sender(), 100_000, []
    for step in steps:
        position += step
        stamps += [packet.timestamp for packet in parsed(viewer.send(unit(position, is_key=True), NTP))[:1]]
    assert all(earlier < later for earlier, later in itertools.pairwise(stamps))
