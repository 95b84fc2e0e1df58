"""One stream to one viewer: numbering, history, retransmission, sender reports, counters. No I/O, no clock.

RFC 3550 (numbers, reports), RFC 4588 (RTX), RFC 4585 (NACK). `now` is monotonic seconds, `ntp` a 64-bit NTP timestamp.
"""

import enum
from collections.abc import Sequence
from struct import pack

import msgspec

from channels.bucket import Bucket
from media.rtp.feedback import Feedback, KeyframeRequest, Nack, ReceiverReport, Remb
from media.rtp.header import ExtensionIds, HeaderTemplate
from media.rtp.history import HISTORY_PACKETS, History, Sent
from media.rtp.packetize import PacketizedUnit
from media.rtp.playout import Playout

RESENDS_PER_SECOND = 1000
RESENDS_LEAST, RESENDS_PART = 20, 0.5
"""In one second no more packets are sent again than these and this part of what is sent: on a path that is too narrow
more would only add to the loss. A viewer that asks for more gets the rest with the next key frame."""

KEYFRAMES_PER_S, KEYFRAMES_AT_ONCE = 1.0, 5.0
"""What a viewer gets by asking: a key frame is as large as five other pictures, and goes to all."""

_FIRST_RTT_S = 0.05
_SHORTEST_RTT_S = 0.01
_RTT_WEIGHT = 0.15
_SENDER_REPORT, _RECEIVER_REPORT, _SOURCE_DESCRIPTION, _BYE = 200, 201, 202, 203
_CNAME = 1


class Mode(enum.Enum):
    """What a viewer gets: nothing before its first key frame, then everything; key frames only; nothing; never more."""

    WAITING = "waiting"
    LIVE = "live"
    THINNED = "thinned"
    PAUSED = "paused"
    GONE = "gone"


class Turn(enum.Enum):
    """What changes a mode: a key frame goes out, a unit cannot go out, or an order."""

    KEYFRAME = "key frame"
    SKIP = "skip"
    RESUME = "resume"
    THIN = "thin"
    PAUSE = "pause"
    END = "end"


NEXT = {
    (Mode.WAITING, Turn.KEYFRAME): Mode.LIVE,
    (Mode.WAITING, Turn.SKIP): Mode.WAITING,
    (Mode.WAITING, Turn.RESUME): Mode.WAITING,
    (Mode.WAITING, Turn.THIN): Mode.THINNED,
    (Mode.WAITING, Turn.PAUSE): Mode.PAUSED,
    (Mode.WAITING, Turn.END): Mode.GONE,
    (Mode.LIVE, Turn.KEYFRAME): Mode.LIVE,
    (Mode.LIVE, Turn.SKIP): Mode.WAITING,
    (Mode.LIVE, Turn.RESUME): Mode.LIVE,
    (Mode.LIVE, Turn.THIN): Mode.THINNED,
    (Mode.LIVE, Turn.PAUSE): Mode.PAUSED,
    (Mode.LIVE, Turn.END): Mode.GONE,
    (Mode.THINNED, Turn.KEYFRAME): Mode.THINNED,
    (Mode.THINNED, Turn.SKIP): Mode.THINNED,
    (Mode.THINNED, Turn.RESUME): Mode.WAITING,  # the pictures before are missing: it goes on with a key frame
    (Mode.THINNED, Turn.THIN): Mode.THINNED,
    (Mode.THINNED, Turn.PAUSE): Mode.PAUSED,
    (Mode.THINNED, Turn.END): Mode.GONE,
    (Mode.PAUSED, Turn.RESUME): Mode.WAITING,
    (Mode.PAUSED, Turn.THIN): Mode.THINNED,
    (Mode.PAUSED, Turn.PAUSE): Mode.PAUSED,
    (Mode.PAUSED, Turn.END): Mode.GONE,
    (Mode.GONE, Turn.END): Mode.GONE,
}
"""A pair that is not here is an error; a stream without key frames goes on with any unit."""


class Stream(msgspec.Struct, frozen=True):
    """What was negotiated for one stream; the two start numbers are the caller's random choice.

    `rtx` is (payload type, ssrc) or None for plain resends. `keeps_history` is off for audio, where no NACK comes.
    """

    ssrc: int
    payload_type: int
    clock_rate: int
    cname: str
    mid: str = ""
    ids: ExtensionIds = ExtensionIds()
    rtx: tuple[int, int] | None = None
    first_sequence: int = 0
    timestamp_offset: int = 0
    has_keyframes: bool = True
    keeps_history: bool = True


class SenderStats(msgspec.Struct):
    """Counters of one stream to one viewer.

    Bytes are payload bytes, without headers; `retransmitted_*` count apart. `send_delay_s` is the sum over all packets
    of the time from the packetized unit to the system call. `nacks`, `plis` and `firs` count messages, `wishes_refused`
    those of the last two that came too often.
    """

    packets: int = 0
    payload_bytes: int = 0
    units: int = 0
    keyframes: int = 0
    units_waited: int = 0
    units_skipped: int = 0
    units_left_out: int = 0
    retransmitted_packets: int = 0
    retransmitted_bytes: int = 0
    resend_refused: int = 0
    send_delay_s: float = 0.0
    nacks: int = 0
    plis: int = 0
    firs: int = 0
    wishes_refused: int = 0
    fraction_lost: float = 0.0
    packets_lost: int = 0
    rtt_s: float | None = None
    remb_bps: int | None = None


class Reaction(msgspec.Struct):
    """What a feedback event calls for: packets to send again, and whether a key frame is wanted."""

    packets: list[bytes]
    wants_keyframe: bool = False


class ViewerSender:
    """Writes this viewer's headers before the payloads that all share, and answers its feedback."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stats = SenderStats()
        self.mode = Mode.WAITING if stream.has_keyframes else Mode.LIVE
        self._header = HeaderTemplate(stream.ssrc, stream.payload_type, stream.mid, stream.ids)
        self._rtx = HeaderTemplate(stream.rtx[1], stream.rtx[0], stream.mid, stream.ids) if stream.rtx else None
        self._playout = Playout()
        self._tell_playout()
        self._sequence = stream.first_sequence
        self._rtx_sequence = stream.first_sequence
        self._history = History() if stream.keeps_history else None
        self._resent_at: dict[int, float] = {}
        self._position = -1
        self._captured_at: float | None = None
        self._second = 0.0
        self._resends = 0
        self._may_resends = RESENDS_PER_SECOND
        self._second_packets = 0
        self._layer = 0
        self._wishes = Bucket(KEYFRAMES_PER_S, KEYFRAMES_AT_ONCE, 0.0)

    def send(self, unit: PacketizedUnit, ntp: int) -> Sequence[bytes]:
        """Heads of the packets of one access unit, whose payloads follow; none where the mode has no place for it."""
        if self.mode is not Mode.LIVE and not self._takes(unit):
            return ()
        if unit.layer != self._layer:
            self._layer = unit.layer
            if self._history is not None:
                self._history = History()  # who can decode the new layer needs nothing of the old one
        # Two layers are encoded side by side: where one takes over, its picture may be no younger than the last one.
        self._position = position = max(unit.timestamp, self._position + 1)
        self._captured_at = unit.captured_at
        timestamp = (position + self.stream.timestamp_offset) & 0xFFFFFFFF
        block = self._header.extensions(ntp, unit.audio_level)
        first, payloads = self._sequence, unit.payloads
        self._sequence = (first + len(payloads)) & 0xFFFF
        if self._history is not None:
            self._history.keep(Sent(first, timestamp, block, unit))
        stats = self.stats
        stats.units += 1
        stats.keyframes += unit.is_key
        stats.packets += len(payloads)
        stats.payload_bytes += unit.size
        return self._header.heads(first, timestamp, block, len(payloads))

    def turn(self, turn: Turn) -> None:
        """Change the mode; a stream that needs no key frame goes on at once. KeyError: a turn that cannot be here."""
        self.mode = NEXT[self.mode, turn]
        if self.mode is Mode.WAITING and not self.stream.has_keyframes:
            self.mode = Mode.LIVE

    def skip(self) -> None:
        """The unit cannot be sent now (the path is full): nothing more goes out before the next key frame."""
        if self.mode in (Mode.PAUSED, Mode.GONE):
            self.stats.units_left_out += 1
            return
        self.stats.units_skipped += 1
        self.turn(Turn.SKIP)

    def _takes(self, unit: PacketizedUnit) -> bool:
        if unit.is_key and self.mode in (Mode.WAITING, Mode.THINNED):
            self.turn(Turn.KEYFRAME)
            return True
        if self.mode is Mode.WAITING:
            self.stats.units_waited += 1
        else:
            self.stats.units_left_out += 1
        return False

    def receive(self, event: Feedback, now: float, ntp: int) -> Reaction:
        """React to feedback about this stream; the caller has matched the SSRC."""
        if type(event) is Nack:
            self.stats.nacks += 1
            return Reaction(self._resend(event, now, ntp))
        if type(event) is KeyframeRequest:
            self.stats.plis += not event.is_fir
            self.stats.firs += event.is_fir
            is_granted = self._wishes.take(now) == 0.0
            self.stats.wishes_refused += not is_granted
            return Reaction([], wants_keyframe=is_granted)
        if type(event) is ReceiverReport:
            self._report_received(event, ntp)
            if self._playout.observe(event.fraction_lost, event.jitter / self.stream.clock_rate, self.stats.rtt_s, now):
                self._tell_playout()
        elif type(event) is Remb:
            self.stats.remb_bps = event.bitrate_bps
        return Reaction([])

    def _tell_playout(self) -> None:
        for header in (self._header, self._rtx):
            if header is not None:
                header.set_playout(self._playout.value)

    def report(self, now: float, ntp: int) -> bytes | None:
        """Sender report and source description, about once a second; None before the first packet (RFC 3550, 6.4.1)."""
        if self._captured_at is None:
            return None
        # The RTP time of this very moment: both streams of a viewer meet on one clock, however late a unit was.
        position = self._position + round((now - self._captured_at) * self.stream.clock_rate)
        timestamp = (position + self.stream.timestamp_offset) & 0xFFFFFFFF
        counts = (self.stats.packets & 0xFFFFFFFF, self.stats.payload_bytes & 0xFFFFFFFF)
        report = pack("!BBHLQLLL", 0x80, _SENDER_REPORT, 6, self.stream.ssrc, ntp, timestamp, *counts)
        return report + self._source_description()

    def goodbye(self) -> bytes:
        """The end of the stream, behind the report and the name that a compound packet must have (RFC 3550, 6.1)."""
        report = pack("!BBHL", 0x80, _RECEIVER_REPORT, 1, self.stream.ssrc)
        return report + self._source_description() + pack("!BBHL", 0x81, _BYE, 1, self.stream.ssrc)

    def _source_description(self) -> bytes:
        cname = self.stream.cname.encode()[:255]
        chunk = pack("!LBB", self.stream.ssrc, _CNAME, len(cname)) + cname + b"\x00"
        chunk += bytes(-len(chunk) % 4)
        return pack("!BBH", 0x81, _SOURCE_DESCRIPTION, len(chunk) // 4) + chunk

    def _report_received(self, event: ReceiverReport, ntp: int) -> None:
        self.stats.fraction_lost = event.fraction_lost
        self.stats.packets_lost = event.packets_lost
        if event.last_report == 0:
            return
        # RFC 3550, 6.4.1: round trip = arrival - last SR - delay since it, all in 1/65536 seconds.
        rtt = (((ntp >> 16) & 0xFFFFFFFF) - event.last_report - event.delay) & 0xFFFFFFFF
        if rtt < 1 << 22:  # a minute and more is a clock that jumped or a lie
            seconds = rtt / 65536
            known = self.stats.rtt_s
            self.stats.rtt_s = seconds if known is None else known + _RTT_WEIGHT * (seconds - known)

    def _resend(self, event: Nack, now: float, ntp: int) -> list[bytes]:
        packets: list[bytes] = []
        if self._history is None:
            return packets
        rtt_s = max(_SHORTEST_RTT_S, _FIRST_RTT_S if self.stats.rtt_s is None else self.stats.rtt_s)
        if len(self._resent_at) > HISTORY_PACKETS:
            self._resent_at.clear()
        for sequence in event.lost:
            found = self._history.find(sequence)
            if found is None or now - self._resent_at.get(sequence, float("-inf")) < rtt_s:
                continue
            if not self._may_resend(now):
                self.stats.resend_refused += 1
                continue
            self._resent_at[sequence] = now
            self.stats.retransmitted_packets += 1
            self.stats.retransmitted_bytes += len(found[0].unit.payloads[found[1]])
            packets.append(self._again(sequence, found, ntp))
        return packets

    def _again(self, original: int, found: tuple[Sent, int], ntp: int) -> bytes:
        sent, index = found
        payload, is_last = sent.unit.payloads[index], index == len(sent.unit.payloads) - 1
        if self._rtx is None:
            # Byte for byte what was sent: another plaintext under the same SRTP index would give the key stream away.
            return self._header.packet(original, sent.timestamp, is_last, (sent.block, payload))
        sequence = self._rtx_sequence
        self._rtx_sequence = (sequence + 1) & 0xFFFF
        payload = pack("!H", original) + payload  # RFC 4588, 4
        return self._rtx.packet(sequence, sent.timestamp, is_last, (self._rtx.extensions(ntp), payload))

    def _may_resend(self, now: float) -> bool:
        if now - self._second >= 1.0:
            per_second = (self.stats.packets - self._second_packets) / max(now - self._second, 1.0)
            if self._second:
                self._may_resends = min(RESENDS_PER_SECOND, round(RESENDS_LEAST + RESENDS_PART * per_second))
            self._second, self._second_packets, self._resends = now, self.stats.packets, 0
        self._resends += 1
        return self._resends <= self._may_resends
