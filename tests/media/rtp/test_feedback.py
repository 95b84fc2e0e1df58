from struct import pack

import pytest
from aiortc.rtp import (
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    pack_remb_fci,
)
from hypothesis import given
from hypothesis import strategies as st

from media.rtp.feedback import Goodbye, KeyframeRequest, Nack, ReceiverReport, Remb, SenderReport, parse

OURS, THEIRS = 0x11111111, 0x22222222
REPORT = RtcpReceiverInfo(
    ssrc=OURS, fraction_lost=64, packets_lost=-3, highest_sequence=9, jitter=7, lsr=0xABCD, dlsr=65536
)


def test_picture_loss_asks_for_a_key_frame() -> None:
    assert parse(bytes(RtcpPsfbPacket(fmt=1, ssrc=THEIRS, media_ssrc=OURS))) == [KeyframeRequest(OURS)]


def test_full_intra_request_names_its_streams_in_the_entries() -> None:
    fci = pack("!LBxxx", OURS, 1) + pack("!LBxxx", 5, 2)
    assert parse(bytes(RtcpPsfbPacket(fmt=4, ssrc=THEIRS, media_ssrc=0, fci=fci))) == [
        KeyframeRequest(OURS, is_fir=True),
        KeyframeRequest(5, is_fir=True),
    ]


def test_nack_lists_each_lost_packet_once_across_the_wrap() -> None:
    data = bytes(RtcpRtpfbPacket(fmt=1, ssrc=THEIRS, media_ssrc=OURS, lost=[65534, 65535]))
    data += pack("!BBHLLHHHH", 0x81, 205, 4, THEIRS, OURS, 65535, 1, 0, 0)
    assert parse(data) == [Nack(OURS, (65534, 65535)), Nack(OURS, (65535, 0))]


@given(st.lists(st.integers(0, 65000), min_size=1, max_size=60, unique=True).map(sorted))
def test_nack_of_a_foreign_packer_comes_back_whole(lost: list[int]) -> None:
    assert parse(bytes(RtcpRtpfbPacket(fmt=1, ssrc=THEIRS, media_ssrc=OURS, lost=lost))) == [Nack(OURS, tuple(lost))]


@pytest.mark.parametrize("bitrate", [0, 1, 300_000, 2_500_000, 1 << 40])
def test_remb_tells_bitrate_and_streams(bitrate: int) -> None:
    (event,) = parse(bytes(RtcpPsfbPacket(fmt=15, ssrc=THEIRS, media_ssrc=0, fci=pack_remb_fci(bitrate, [OURS, 5]))))
    assert isinstance(event, Remb)
    assert event.ssrcs == (OURS, 5)
    assert abs(event.bitrate_bps - bitrate) <= bitrate >> 17


def test_reports_are_read_out_of_receiver_and_sender_reports() -> None:
    expected = ReceiverReport(OURS, 0.25, -3, 7, 0xABCD, 65536)
    information = RtcpSenderInfo(ntp_timestamp=1, rtp_timestamp=2, packet_count=3, octet_count=4)
    assert parse(bytes(RtcpRrPacket(ssrc=THEIRS, reports=[REPORT]))) == [expected]
    assert parse(bytes(RtcpSrPacket(ssrc=THEIRS, sender_info=information, reports=[REPORT]))) == [
        SenderReport(THEIRS, 1, 2),
        expected,
    ]


def test_a_compound_packet_gives_its_events_in_order() -> None:
    source = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=THEIRS, items=[(1, b"name")])])
    data = bytes(RtcpRrPacket(ssrc=THEIRS)) + bytes(source)
    data += bytes(RtcpPsfbPacket(fmt=1, ssrc=THEIRS, media_ssrc=OURS)) + bytes(RtcpByePacket(sources=[THEIRS]))
    assert parse(data) == [KeyframeRequest(OURS), Goodbye((THEIRS,))]


def test_what_came_before_a_broken_part_counts() -> None:
    good = bytes(RtcpPsfbPacket(fmt=1, ssrc=THEIRS, media_ssrc=OURS))
    assert parse(good + b"\x81\xce\xff\xff") == [KeyframeRequest(OURS)]


@pytest.mark.parametrize(
    "data",
    [
        pack("!BBHLL", 0x8F, 206, 2, THEIRS, 0),
        pack("!BBHLL4sBBH", 0x8F, 206, 4, THEIRS, 0, b"REMB", 255, 0xFF, 0xFFFF),
        pack("!BBHL", 0x9F, 201, 1, THEIRS),
        pack("!BBHL", 0x9F, 203, 1, THEIRS),
        pack("!BBHL", 0xA1, 206, 1, 0xFFFFFFFF),
    ],
)
def test_counts_and_paddings_that_lie_are_harmless(data: bytes) -> None:
    for event in parse(data):
        assert isinstance(event, Remb | Goodbye)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    parse(data)


@given(st.integers(200, 206), st.integers(0, 63), st.binary(max_size=80).map(lambda body: body[: len(body) // 4 * 4]))
def test_any_body_under_a_right_header_is_read_without_an_error(kind: int, low: int, body: bytes) -> None:
    parse(pack("!BBH", 0x80 | low, kind, len(body) // 4) + body)
