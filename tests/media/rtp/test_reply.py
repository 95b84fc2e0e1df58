import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRrPacket, RtcpSdesPacket
from hypothesis import given
from hypothesis import strategies as st

from media.rtp import reply
from media.rtp.feedback import KeyframeRequest, Nack, ReceiverReport, Remb, parse
from media.rtp.reply import ReportBlock

OURS, THEIRS = 0x11111111, 0x22222222


@given(st.integers(0, 0xFFFF), st.sets(st.integers(0, 400), min_size=1))
def test_nacks_come_back_whole_across_the_wrap(first: int, offsets: set[int]) -> None:
    lost = [(first + offset) & 0xFFFF for offset in sorted(offsets)]
    assert parse(reply.nack(OURS, THEIRS, lost)) == [Nack(THEIRS, tuple(lost))]


@pytest.mark.parametrize("bitrate", [0, 1, 150_000, 3_000_000, 1 << 40])
def test_remb_is_read_by_our_parser_and_a_foreign_one(bitrate: int) -> None:
    data = reply.remb(OURS, bitrate, [THEIRS, 5])
    (event,) = parse(data)
    assert isinstance(event, Remb)
    assert (event.ssrcs, bitrate - event.bitrate_bps <= bitrate >> 17) == ((THEIRS, 5), True)
    (foreign,) = RtcpPacket.parse(data)
    assert isinstance(foreign, RtcpPsfbPacket)


def test_a_compound_packet_has_report_name_and_feedback() -> None:
    block = ReportBlock(THEIRS, 64, -3, 1 << 33, 7, 0xABCD, 65536)
    data = reply.compound(OURS, "name", block, reply.pli(OURS, THEIRS))
    assert parse(data) == [ReceiverReport(THEIRS, 0.25, -3, 7, 0xABCD, 65536), KeyframeRequest(THEIRS)]
    report, source, _ = RtcpPacket.parse(data)
    assert isinstance(report, RtcpRrPacket)
    assert isinstance(source, RtcpSdesPacket)
    assert source.chunks[0].items == [(1, b"name")]


def test_a_compound_packet_may_go_without_a_report_block() -> None:
    assert parse(reply.compound(OURS, "", None)) == []
    assert len(RtcpPacket.parse(reply.compound(OURS, "abc", None))) == 2
