"""How a stream arrives: loss and jitter as receiver reports have them, and the bitrate to ask the sender for.

RFC 3550, 6.4.1 and appendix A.8. No I/O, no clock: `now` is monotonic seconds.
"""

from media.rtp.packet import Packet
from media.rtp.reply import ReportBlock

MOST_BPS = 3_000_000
LEAST_BPS = 150_000

_BAD_LOSS, _GOOD_LOSS = 0.10, 0.02
_DOWN, _UP = 0.85, 1.08
_LEAST_PACKETS = 20


class WantedRate:
    """The bitrate for REMB: the most there is at once, down on loss only, and up again when it is over."""

    def __init__(self, most_bps: int = MOST_BPS) -> None:
        self.bitrate_bps = most_bps
        self._most_bps = most_bps

    def observe(self, expected: int, lost: int) -> None:
        """Take the packets of about a second; too few tell nothing."""
        if expected < _LEAST_PACKETS:
            return
        if lost > _BAD_LOSS * expected:
            self.bitrate_bps = max(min(LEAST_BPS, self._most_bps), int(self.bitrate_bps * _DOWN))
        elif lost < _GOOD_LOSS * expected:
            self.bitrate_bps = min(self._most_bps, int(self.bitrate_bps * _UP))


class Reception:
    """Counts one stream from its first packet on; sequence numbers are unwrapped."""

    def __init__(self, first: Packet, clock_rate: int, rate: WantedRate) -> None:
        self.ssrc = first.ssrc
        self.highest = first.sequence
        self.timestamp = first.timestamp
        self.jitter = 0.0
        self.fraction_lost = 0.0
        self._clock_rate = clock_rate
        self._rate = rate
        self._base = first.sequence
        self._received = 0
        self._expected_before = self._received_before = 0
        self._arrived_at: float | None = None
        self._report: tuple[int, float] | None = None

    @property
    def jitter_s(self) -> float:
        """The jitter in seconds."""
        return self.jitter / self._clock_rate

    @property
    def packets_lost(self) -> int:
        """Packets that did not come by themselves, retransmitted ones included."""
        return self.highest - self._base + 1 - self._received

    def arrived(self, packet: Packet, now: float) -> None:
        """A packet came that had not been asked for."""
        self._received += 1
        if packet.sequence < self.highest:
            return
        self.highest = packet.sequence
        if self._arrived_at is None or packet.timestamp != self.timestamp:
            if self._arrived_at is not None:
                transit = (now - self._arrived_at) * self._clock_rate - (packet.timestamp - self.timestamp)
                self.jitter += (abs(transit) - self.jitter) / 16
            self.timestamp, self._arrived_at = packet.timestamp, now

    def reported(self, ntp: int, now: float) -> None:
        """A sender report came with this NTP time."""
        self._report = ((ntp >> 16) & 0xFFFFFFFF, now)

    def block(self, now: float) -> ReportBlock:
        """The report since the last one; it steps the wanted bitrate."""
        expected = self.highest - self._base + 1
        interval, received = expected - self._expected_before, self._received - self._received_before
        self._expected_before, self._received_before = expected, self._received
        lost = max(0, interval - received)
        self.fraction_lost = lost / interval if interval > 0 else 0.0
        self._rate.observe(interval, lost)
        last_report, reported_at = self._report or (0, now)
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(255, int(self.fraction_lost * 256)),
            packets_lost=self.packets_lost,
            highest=self.highest,
            jitter=int(self.jitter),
            last_report=last_report,
            delay=int((now - reported_at) * 65536),
        )
