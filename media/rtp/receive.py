"""Receiver of one incoming stream: RTP in, whole frames in order out, and the RTCP that goes back. No I/O, no clock.

Lost packets are asked for again (NACK; RTX of RFC 4588 or plain resends), a picture that cannot be repaired costs a
key frame request (PLI). The bitrate is our own: REMB says the most there is at once and steps down on loss only.
Whatever the bytes are, nothing is raised. `now` is monotonic seconds.
"""

import msgspec

from media.rtp import packet as rtp
from media.rtp import reply
from media.rtp.assemble import Assembler, AssemblyStats, Frame, Window
from media.rtp.depacketize import FORMS
from media.rtp.feedback import Goodbye, SenderReport
from media.rtp.packet import Packet, unwrap
from media.rtp.reception import MOST_BPS, Reception, WantedRate
from media.rtp.repair import Repair

VIDEO_WINDOW = Window(packets=512, wait_s=0.5)
AUDIO_WINDOW = Window(packets=16, wait_s=0.06)
REPORT_S = 1.0
KEYFRAME_REQUEST_S = 0.5

_LARGEST_JUMP = 3000  # RFC 3550, A.1: a packet further off is of another numbering, if the next one follows it


class IncomingCodec(msgspec.Struct, frozen=True):
    """A negotiated codec by its RTP name (`H264`, `VP8`, `opus`) and clock."""

    name: str
    clock_rate: int


class Incoming(msgspec.Struct, frozen=True):
    """What was negotiated for one incoming stream; `ssrc` and `cname` are ours, for the RTCP that goes back.

    `codecs` is by payload type; `repairs` maps the payload type of RTX to the one that it repairs.
    """

    kind: str
    ssrc: int
    cname: str
    codecs: dict[int, IncomingCodec]
    repairs: dict[int, int] = {}
    most_bps: int = MOST_BPS

    @property
    def payload_types(self) -> frozenset[int]:
        """All payload types that belong to the stream."""
        return frozenset(self.codecs) | frozenset(self.repairs)


class ReceiverStats(msgspec.Struct):
    """Counters of one incoming stream; bytes are payload bytes. `packets_lost` did not come by themselves."""

    packets: int = 0
    payload_bytes: int = 0
    packets_lost: int = 0
    repaired: int = 0
    malformed: int = 0
    strange: int = 0
    restarts: int = 0
    nacks: int = 0
    plis: int = 0
    fraction_lost: float = 0.0
    jitter_s: float = 0.0
    remb_bps: int = 0


class Receiver:
    """One stream from its first packet on; a sender that starts anew under other numbers is followed."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.stats = ReceiverStats()
        self.has_ended = False
        self._is_video = incoming.kind == "video"
        self._rate = WantedRate(incoming.most_bps)
        self._assembly = self._new_assembly(AssemblyStats())
        self._repair = Repair()
        self._reception: Reception | None = None
        self._stranger: tuple[int, int] | None = None
        self._report_at: float | None = None
        self._pli_at = float("-inf")

    @property
    def assembly_stats(self) -> AssemblyStats:
        """Counters of frames."""
        return self._assembly.stats

    @property
    def ssrc(self) -> int | None:
        """SSRC of the stream; None before its first packet."""
        return self._reception.ssrc if self._reception else None

    def receive(self, data: bytes, now: float) -> list[Frame]:
        """Take one decrypted RTP packet; the frames that are whole by it, in order. Then ask for `feedback`."""
        packet = self.accept(data, now)
        if packet is None:
            return []
        frames = self._assembly.add(packet, now)
        self._tidy()
        return frames

    def accept(self, data: bytes, now: float) -> Packet | None:
        """Count one packet and unwrap it, numbers and RTX, without waiting for others: all that forwarding needs.

        None when it is malformed, of no use or belongs to no stream that goes on.
        """
        packet = rtp.parse(data)
        if packet is None:
            self.stats.malformed += 1
            return None
        repaired = self.incoming.repairs.get(packet.payload_type)
        if repaired is not None:
            return self._unwrap_repair(packet, repaired)
        codec = self.incoming.codecs.get(packet.payload_type)
        if codec is None:
            self.stats.strange += 1
            return None
        reception = self._reception
        if reception is None:
            return self._begin(packet, codec, now)
        sequence = unwrap(packet.sequence, reception.highest, 16)
        if packet.ssrc != reception.ssrc or abs(sequence - reception.highest) > _LARGEST_JUMP:
            return self._consider(packet, codec, now)
        self._stranger = None
        packet = _numbered(packet, sequence, unwrap(packet.timestamp, reception.timestamp, 32))
        return self._count(packet, reception, now)

    def expire(self, now: float) -> list[Frame]:
        """Frames that need not wait any longer; call it at `next_deadline`."""
        frames = self._assembly.expire(now)
        self._tidy()
        return frames

    def feedback(self, now: float) -> list[bytes]:
        """RTCP packets to send now, not yet encrypted: reports about once a second, NACK and PLI when needed."""
        reception = self._reception
        if reception is None or self.has_ended:
            return []
        ours, theirs = self.incoming.ssrc, reception.ssrc
        urgent = b""
        lost = self._repair.due(now) if self._is_video else []
        if lost:
            self.stats.nacks += 1
            urgent += reply.nack(ours, theirs, [index & 0xFFFF for index in lost])
        if self._assembly.needs_keyframe and now >= self._pli_at:
            self._pli_at = now + KEYFRAME_REQUEST_S
            self.stats.plis += 1
            urgent += reply.pli(ours, theirs)
        block = None
        if self._report_at is None or now >= self._report_at:
            block = reception.block(now) if self._report_at is not None else None
            self._report_at = now + REPORT_S
            if self._is_video:
                urgent += reply.remb(ours, self._rate.bitrate_bps, (theirs,))
        self._note(reception)
        return [reply.compound(ours, self.incoming.cname, block, urgent)] if urgent or block else []

    @property
    def next_deadline(self) -> float | None:
        """When `expire` and `feedback` are to be called again; None before the first packet."""
        if self._reception is None or self.has_ended:
            return None
        candidates = [self._report_at, self._assembly.next_deadline]
        if self._is_video:
            candidates.append(self._repair.next_deadline)
        if self._assembly.needs_keyframe:
            candidates.append(self._pli_at)
        return min((at for at in candidates if at is not None), default=None)

    def request_keyframe(self) -> None:
        """The decoder cannot go on without one."""
        self._assembly.needs_keyframe = self._is_video

    def sender_reported(self, event: SenderReport, now: float) -> None:
        """A sender report came; those of other streams are passed over."""
        if self._reception is not None and event.ssrc == self._reception.ssrc:
            self._reception.reported(event.ntp, now)

    def said_goodbye(self, event: Goodbye) -> bool:
        """Whether the stream ends by this."""
        self.has_ended = self.has_ended or self.ssrc in event.ssrcs
        return self.has_ended

    def _new_assembly(self, stats: AssemblyStats) -> Assembler:
        forms = {number: FORMS[codec.name] for number, codec in self.incoming.codecs.items() if codec.name in FORMS}
        window = VIDEO_WINDOW if self._is_video else AUDIO_WINDOW
        return Assembler(forms, window, stats, has_keyframes=self._is_video)

    def _begin(self, packet: Packet, codec: IncomingCodec, now: float) -> Packet:
        self._reception = Reception(packet, codec.clock_rate, self._rate)
        return self._count(packet, self._reception, now)

    def _consider(self, packet: Packet, codec: IncomingCodec, now: float) -> Packet | None:
        """RFC 3550, A.1: two packets in a row of another numbering are a stream that began anew; one is noise."""
        stranger, self._stranger = self._stranger, (packet.ssrc, (packet.sequence + 1) & 0xFFFF)
        if stranger != (packet.ssrc, packet.sequence):
            self.stats.strange += 1
            return None
        self._stranger = None
        self.stats.restarts += 1
        self.has_ended = False
        self._repair = Repair()
        self._assembly = self._new_assembly(self._assembly.stats)
        return self._begin(packet, codec, now)

    def _count(self, packet: Packet, reception: Reception, now: float) -> Packet:
        self.stats.packets += 1
        self.stats.payload_bytes += len(packet.payload)
        if packet.sequence > reception.highest + 1 and not self._repair.miss(
            reception.highest + 1, packet.sequence, now
        ):
            self._assembly.needs_keyframe = self._is_video
        was_asked = self._repair.found(packet.sequence)
        if was_asked and not self.incoming.repairs:  # a plain resend looks like the packet itself
            self.stats.repaired += 1
        else:
            reception.arrived(packet, now)
        return packet

    def _unwrap_repair(self, packet: Packet, payload_type: int) -> Packet | None:
        reception = self._reception
        if reception is None or len(packet.payload) < 3:  # padding, or a repair of what never began
            return None
        sequence = unwrap(packet.payload[0] << 8 | packet.payload[1], reception.highest, 16)
        if not 0 <= reception.highest - sequence <= _LARGEST_JUMP:
            self.stats.strange += 1
            return None
        if self._repair.found(sequence):
            self.stats.repaired += 1
        timestamp = unwrap(packet.timestamp, reception.timestamp, 32)
        return Packet(payload_type, packet.is_last, sequence, timestamp, reception.ssrc, packet.payload[2:])

    def _tidy(self) -> None:
        if self._assembly.first_needed is not None:
            self._repair.forget(self._assembly.first_needed)

    def _note(self, reception: Reception) -> None:
        self.stats.packets_lost = reception.packets_lost
        self.stats.fraction_lost = reception.fraction_lost
        self.stats.jitter_s = reception.jitter_s
        self.stats.remb_bps = self._rate.bitrate_bps if self._is_video else 0


def _numbered(packet: Packet, sequence: int, timestamp: int) -> Packet:
    return Packet(packet.payload_type, packet.is_last, sequence, timestamp, packet.ssrc, packet.payload)
