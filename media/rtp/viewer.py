"""One stream to one viewer: numbering, history, retransmission, sender reports, counters. No I/O, no clock.

RFC 3550 (numbers, reports), RFC 4588 (RTX), RFC 4585 (NACK). `now` is monotonic seconds, `ntp` a 64-bit NTP timestamp.
"""

import enum
from struct import pack

import msgspec

from media.rtp.feedback import Feedback, KeyframeRequest, Nack, ReceiverReport, Remb
from media.rtp.header import ExtensionIds, HeaderTemplate
from media.rtp.packetize import PacketizedUnit

HISTORY_PACKETS = 1024
RESENDS_PER_SECOND = 1000
"""A viewer that asks for more gets the rest with the next key frame."""

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
    (Mode.PAUSED, Turn.SKIP): Mode.PAUSED,
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
    """Counters of one stream to one viewer; bytes are payload bytes, without headers and retransmissions."""

    packets: int = 0
    payload_bytes: int = 0
    units: int = 0
    keyframes: int = 0
    units_waited: int = 0
    units_skipped: int = 0
    units_left_out: int = 0
    resent: int = 0
    resend_refused: int = 0
    keyframe_requests: int = 0
    fraction_lost: float = 0.0
    packets_lost: int = 0
    rtt_s: float | None = None
    remb_bps: int | None = None


class _Kept(msgspec.Struct, gc=False):
    sequence: int
    timestamp: int
    is_last: bool
    block: bytes
    payload: bytes
    resent_at: float


class Reaction(msgspec.Struct):
    """What a feedback event calls for: packets to send again, and whether a key frame is wanted."""

    packets: list[bytes]
    wants_keyframe: bool = False


class ViewerSender:
    """Turns shared payloads into this viewer's packets and answers its feedback."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stats = SenderStats()
        self.mode = Mode.WAITING if stream.has_keyframes else Mode.LIVE
        self._header = HeaderTemplate(stream.ssrc, stream.payload_type, stream.mid, stream.ids)
        self._rtx = HeaderTemplate(stream.rtx[1], stream.rtx[0], stream.mid, stream.ids) if stream.rtx else None
        self._sequence = stream.first_sequence
        self._rtx_sequence = stream.first_sequence
        self._history: list[_Kept | None] = [None] * (HISTORY_PACKETS if stream.keeps_history else 0)
        self._last: tuple[int, float] | None = None
        self._second = 0.0
        self._resends = 0

    def send(self, unit: PacketizedUnit, ntp: int) -> list[bytes]:
        """Packets of one access unit, not yet encrypted; none where the mode has no place for it."""
        if not self._takes(unit):
            return []
        # Two layers are encoded side by side: where one takes over, its picture may be no younger than the last one.
        position = unit.timestamp if self._last is None else max(unit.timestamp, self._last[0] + 1)
        timestamp = (position + self.stream.timestamp_offset) & 0xFFFFFFFF
        block = self._header.extensions(ntp, unit.audio_level)
        last = len(unit.payloads) - 1
        packets = []
        for index, payload in enumerate(unit.payloads):
            sequence = self._sequence
            self._sequence = (sequence + 1) & 0xFFFF
            packets.append(self._header.packet(sequence, timestamp, index == last, (block, payload)))
            if self._history:
                kept = _Kept(sequence, timestamp, index == last, block, payload, 0.0)
                self._history[sequence % HISTORY_PACKETS] = kept
        self._count(unit)
        self._last = (position, unit.captured_at)
        return packets

    def turn(self, turn: Turn) -> None:
        """Change the mode; a stream that needs no key frame goes on at once. KeyError: a turn that cannot be here."""
        self.mode = NEXT[self.mode, turn]
        if self.mode is Mode.WAITING and not self.stream.has_keyframes:
            self.mode = Mode.LIVE

    def skip(self) -> None:
        """The unit cannot be sent now (the path is full): nothing more goes out before the next key frame."""
        self.stats.units_skipped += 1
        self.turn(Turn.SKIP)

    def _takes(self, unit: PacketizedUnit) -> bool:
        if self.mode is Mode.LIVE:
            return True
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
            return Reaction(self._resend(event, now, ntp))
        if type(event) is KeyframeRequest:
            self.stats.keyframe_requests += 1
            return Reaction([], wants_keyframe=True)
        if type(event) is ReceiverReport:
            self._report_received(event, ntp)
        elif type(event) is Remb:
            self.stats.remb_bps = event.bitrate_bps
        return Reaction([])

    def report(self, now: float, ntp: int) -> bytes | None:
        """Sender report and source description, about once a second; None before the first packet (RFC 3550, 6.4.1)."""
        if self._last is None:
            return None
        position, captured_at = self._last
        # The RTP time of this very moment: both streams of a viewer meet on one clock, however late a unit was.
        position += self.stream.timestamp_offset + round((now - captured_at) * self.stream.clock_rate)
        timestamp = position & 0xFFFFFFFF
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

    def _count(self, unit: PacketizedUnit) -> None:
        self.stats.units += 1
        self.stats.keyframes += unit.is_key
        self.stats.packets += len(unit.payloads)
        self.stats.payload_bytes += unit.size

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
        if not self._history:
            return packets
        rtt_s = max(_SHORTEST_RTT_S, _FIRST_RTT_S if self.stats.rtt_s is None else self.stats.rtt_s)
        for sequence in event.lost:
            kept = self._history[sequence % HISTORY_PACKETS]
            if kept is None or kept.sequence != sequence or now - kept.resent_at < rtt_s:
                continue
            if not self._may_resend(now):
                self.stats.resend_refused += 1
                continue
            kept.resent_at = now
            self.stats.resent += 1
            packets.append(self._again(kept, ntp))
        return packets

    def _again(self, kept: _Kept, ntp: int) -> bytes:
        if self._rtx is None:
            # Byte for byte what was sent: another plaintext under the same SRTP index would give the key stream away.
            return self._header.packet(kept.sequence, kept.timestamp, kept.is_last, (kept.block, kept.payload))
        sequence = self._rtx_sequence
        self._rtx_sequence = (sequence + 1) & 0xFFFF
        payload = pack("!H", kept.sequence) + kept.payload  # RFC 4588, 4
        return self._rtx.packet(sequence, kept.timestamp, kept.is_last, (self._rtx.extensions(ntp), payload))

    def _may_resend(self, now: float) -> bool:
        if now - self._second >= 1.0:
            self._second, self._resends = now, 0
        self._resends += 1
        return self._resends <= RESENDS_PER_SECOND
