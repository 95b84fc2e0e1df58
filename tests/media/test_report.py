from media.peer.streams import StreamReport
from media.report import Milestones, Reporter, Subject, ViewerReport, add
from media.rtp.viewer import SenderStats

MILESTONES = Milestones(3, 20, 40, 41, None)


def viewer(client_id: str, sent: SenderStats | None) -> Subject:
    return Subject(client_id, 1.0, "host/prflx", MILESTONES, (StreamReport("H264", 1, "live", sent),))


def only(reporter: Reporter, subject: Subject, now: float) -> ViewerReport:
    return reporter.report([subject], now).viewers[0]


def test_rates_are_of_the_time_since_the_report_before() -> None:
    reporter = Reporter()
    sent = SenderStats(payload_bytes=1000, units=5, rtt_s=0.0123, fraction_lost=0.05, packets_lost=3)
    assert only(reporter, viewer("a", sent), 10.0).streams[0].fps == 0
    sent.payload_bytes, sent.retransmitted_bytes, sent.units = 500_000, 1000, 65
    told = only(reporter, viewer("a", sent), 12.0)
    assert (told.client_id, told.path, told.milestones) == ("a", "host/prflx", MILESTONES)
    stream = told.streams[0]
    assert (stream.bitrate_bps, stream.fps, stream.layer, stream.mode) == (2_000_000, 30.0, 1, "live")
    assert (stream.rtt_ms, stream.fraction_lost, stream.packets_lost) == (12.3, 0.05, 3)


def test_a_viewer_that_came_again_begins_at_nothing() -> None:
    reporter = Reporter()
    reporter.report([viewer("a", SenderStats(payload_bytes=1000, units=100))], 0.0)
    assert only(reporter, viewer("a", SenderStats(payload_bytes=10, units=1)), 1.0).streams[0].bitrate_bps == 0
    reporter.report([], 2.0)
    assert only(reporter, viewer("a", SenderStats(payload_bytes=100, units=2)), 3.0).streams[0].bitrate_bps == 800


def test_a_viewer_without_a_way_yet_is_told_too() -> None:
    stream = only(Reporter(), viewer("a", None), 0.0).streams[0]
    assert (stream.bitrate_bps, stream.rtt_ms) == (0, None)


def test_only_what_grows_is_added() -> None:
    total = add(SenderStats(packets=1), [SenderStats(packets=2, plis=1, fraction_lost=0.5), SenderStats(nacks=3)])
    assert (total.packets, total.plis, total.nacks, total.fraction_lost) == (3, 1, 3, 0.0)
