"""What is told of a master: how each viewer came and how its picture arrives, and sums over all. No I/O, no clock."""

from collections.abc import Iterable

import msgspec

from media.peer.streams import StreamReport
from media.rtp.viewer import SenderStats

_SUMMED = (
    "packets",
    "payload_bytes",
    "units",
    "keyframes",
    "units_waited",
    "units_skipped",
    "units_left_out",
    "retransmitted_packets",
    "retransmitted_bytes",
    "resend_refused",
    "send_delay_s",
    "nacks",
    "plis",
    "firs",
    "wishes_refused",
)
"""What only grows in `SenderStats`."""


class Milestones(msgspec.Struct, frozen=True):
    """Milliseconds from the offer to what followed; None before it happened."""

    answered_ms: int | None
    ice_ms: int | None
    dtls_ms: int | None
    first_packet_ms: int | None
    first_report_ms: int | None


class StreamFigures(msgspec.Struct, frozen=True):
    """One stream since the report before; `remb_bps` is what the viewer wants at most.

    `packets_lost` counts all that the viewer has told of, `fraction_lost` is that of its last report.
    """

    codec: str
    layer: int
    mode: str
    bitrate_bps: int
    fps: float
    rtt_ms: float | None
    fraction_lost: float
    packets_lost: int
    retransmitted_packets: int
    remb_bps: int | None


class ViewerReport(msgspec.Struct, frozen=True):
    """One viewer. `path` are the candidate types of both sides, as `host/prflx`; None before there is a way."""

    client_id: str
    connected_s: float
    path: str | None
    milestones: Milestones
    streams: tuple[StreamFigures, ...]


class MasterReport(msgspec.Struct, frozen=True):
    """All viewers of a master, `over_s` after the report before; 0 and without rates in the first one."""

    over_s: float
    viewers: tuple[ViewerReport, ...]


class Subject(msgspec.Struct, frozen=True):
    """What a peer says of itself."""

    client_id: str
    connected_s: float
    path: str | None
    milestones: Milestones
    streams: tuple[StreamReport, ...]


def add(total: SenderStats, streams: Iterable[SenderStats]) -> SenderStats:
    """Add what only grows to `total`, and return that."""
    for stats in streams:
        for name in _SUMMED:
            setattr(total, name, getattr(total, name) + getattr(stats, name))
    return total


class Reporter:
    """Remembers what was sent by the last report, for rates; the first one has none."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._sent: dict[tuple[str, str], tuple[int, int]] = {}

    def report(self, peers: Iterable[Subject], now: float) -> MasterReport:
        """The viewers of this moment, with their rates since the last call."""
        over_s, self._at = now - self._at if self._at is not None else 0.0, now
        before, self._sent = self._sent, {}
        viewers = tuple(
            ViewerReport(
                peer.client_id,
                peer.connected_s,
                peer.path,
                peer.milestones,
                tuple(
                    self._figures(stream, before.get((peer.client_id, stream.codec), (0, 0)), over_s, peer.client_id)
                    for stream in peer.streams
                ),
            )
            for peer in peers
        )
        return MasterReport(round(over_s, 3), viewers)

    def _figures(self, stream: StreamReport, before: tuple[int, int], over_s: float, client_id: str) -> StreamFigures:
        sent = stream.sent or SenderStats()
        size, units = sent.payload_bytes + sent.retransmitted_bytes, sent.units
        self._sent[client_id, stream.codec] = (size, units)
        return StreamFigures(
            codec=stream.codec,
            layer=stream.layer,
            mode=stream.mode,
            # One that took the place of another by the same name begins at 0.
            bitrate_bps=round(8 * max(0, size - before[0]) / over_s) if over_s else 0,
            fps=round(max(0, units - before[1]) / over_s, 1) if over_s else 0.0,
            rtt_ms=None if sent.rtt_s is None else round(1000 * sent.rtt_s, 1),
            fraction_lost=round(sent.fraction_lost, 4),
            packets_lost=sent.packets_lost,
            retransmitted_packets=sent.retransmitted_packets,
            remb_bps=sent.remb_bps,
        )
