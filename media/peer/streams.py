"""All media of one peer: its streams to the viewer, the viewer's sound to the talk-back, RTCP to where it belongs."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCRtpSender, RTCRtpTransceiver

from media.control.share import Share
from media.encoders.encoder import Codec
from media.fanout import FanOut
from media.peer import attach, description
from media.peer.attach import Negotiated
from media.peer.incoming import IncomingStream
from media.peer.path import DtlsPath
from media.peer.stream import OutgoingStream
from media.peer.talkback import Talkback, Talker
from media.rtp import feedback
from media.rtp.feedback import Goodbye, ReceiverReport, Remb
from media.rtp.header import PLAYOUT_DELAY
from media.rtp.receive import Incoming
from media.rtp.viewer import SenderStats

_log = logging.getLogger(__name__)

_CODECS = {codec.value: codec for codec in Codec}


class Ears(msgspec.Struct, frozen=True):
    """Who is told what comes from the viewer: `reported` of RTCP, True when it reports about a picture, `heard` of all
    else; `failed` when a path to the viewer is gone.
    """

    heard: Callable[[], None]
    reported: Callable[[bool], None]
    failed: Callable[[], None]


class StreamReport(msgspec.Struct, frozen=True):
    """What is counted about one stream; see `Mode` and `SenderStats`."""

    codec: str
    layer: int
    mode: str
    sent: SenderStats | None


class Streams:
    """Made before the answer, started by DTLS, closed with the peer; nothing here raises but `prepare`."""

    def __init__(self, client_id: str, fanout: FanOut, talkback: Talkback | None, ears: Ears, share: Share) -> None:
        self.by_ssrc: dict[int, OutgoingStream] = {}
        self._client_id = client_id
        self._fanout = fanout
        self._talkback = talkback
        self._ears = ears
        self._share = share
        self._all: list[OutgoingStream] = []
        self._talker: Talker | None = None
        self._incoming: IncomingStream | None = None
        self._is_closed = False

    @property
    def picture(self) -> OutgoingStream | None:
        """The stream of the picture, if the viewer asked for one."""
        return next((stream for stream in self._all if stream.codec.is_video), None)

    def prepare(self, connection: RTCPeerConnection, offered: str, *, has_audio: bool) -> None:
        """Make a transceiver for each section of an offer. Raises: DescriptionError."""
        sections = description.plan(offered, has_audio=has_audio, hears=self._talkback is not None)
        if self._talkback is not None and any(section.receives for section in sections):
            self._talker = self._talkback.join(self._client_id)  # at once: others join before the answer is made
        if self._talker is None:
            sections = tuple(msgspec.structs.replace(section, receives=False) for section in sections)
        for section in sections:
            transceiver = attach.add_transceiver(connection, section.kind, section.direction)
            if section.kind == "audio" and section.direction != "inactive":
                codecs = RTCRtpSender.getCapabilities("audio").codecs
                transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/opus"])

    def attach(self, connection: RTCPeerConnection) -> None:
        """Take the place of aiortc's senders and receivers."""
        for transceiver in connection.getTransceivers():
            if transceiver.direction in ("sendonly", "sendrecv"):
                self._attach_stream(connection, transceiver)
            if transceiver.direction in ("recvonly", "sendrecv"):
                self._attach_talker(transceiver)

    def _attach_stream(self, connection: RTCPeerConnection, transceiver: RTCRtpTransceiver) -> None:
        codec = _CODECS.get(attach.first_codec(transceiver) or "")
        if codec is None:
            return
        stream = OutgoingStream(codec, self._fanout, self._ears.failed)
        # Joined before DTLS is up, so that the encoder runs warm; nothing is sent before `start`.
        stream.leave = self._fanout.join(codec, stream)
        stream.prepare()
        self._all.append(stream)

        def start(negotiated: Negotiated, dtls: RTCDtlsTransport) -> None:
            if not self._is_closed:
                self.by_ssrc[negotiated.ssrc] = stream
                attach.hear_rtcp(dtls, self.rtcp_received)
                self._guarded(partial(stream.start, negotiated, DtlsPath(dtls, self._fanout.room)))

        attach.accept_extension(connection, transceiver, PLAYOUT_DELAY)
        attach.replace_sender(transceiver, start)

    def _attach_talker(self, transceiver: RTCRtpTransceiver) -> None:
        """Without a talker nothing hears what comes: aiortc's own receiver would decode it for a queue nobody reads."""
        talker = self._talker

        def start(negotiated: Incoming, dtls: RTCDtlsTransport) -> None:
            if talker is None or self._is_closed:
                return
            incoming = IncomingStream(negotiated, DtlsPath(dtls), lambda frame: talker.put(frame.payloads))

            def heard(data: bytes) -> None:
                self._ears.heard()
                incoming.packet_received(data)

            self._incoming = incoming
            attach.hear_rtcp(dtls, self.rtcp_received)
            attach.hear_rtp(dtls, negotiated.payload_types, heard)

        attach.replace_receiver(transceiver, start)

    def rtcp_received(self, data: bytes) -> None:
        """Take one compound packet of the viewer, unless it has had its share of time."""
        if not self._share.is_open(time.monotonic()):
            return
        began_s = time.thread_time()
        self._take(feedback.parse(data))
        self._share.spend(time.thread_time() - began_s)

    def _take(self, events: Sequence[feedback.Feedback]) -> None:
        self._ears.reported(any(isinstance(e, ReceiverReport) and self._is_picture(e.ssrc) for e in events))
        for event in events:
            self._guarded(partial(self._route, event))
            if self._incoming is not None:
                self._incoming.rtcp_received(event)

    def _is_picture(self, ssrc: int) -> bool:
        stream = self.by_ssrc.get(ssrc)
        return stream is not None and stream.codec.is_video

    def _route(self, event: feedback.Feedback) -> None:
        if isinstance(event, Goodbye):
            return
        ssrcs = event.ssrcs if isinstance(event, Remb) else (event.ssrc,)
        for ssrc in ssrcs:
            stream = self.by_ssrc.get(ssrc)
            if stream is not None:
                stream.receive(event)

    def _guarded(self, send: Callable[[], None]) -> None:
        try:
            send()
        except Exception as error:  # noqa: BLE001 - a path that is closing raises anything; only this peer ends
            _log.info("viewer path failed", extra={"client_id": self._client_id, "error": type(error).__name__})
            self._ears.failed()

    def send_reports(self) -> None:
        """Send the sender reports that are due."""
        for stream in self._all:
            self._guarded(stream.report)

    def reports(self) -> tuple[StreamReport, ...]:
        """What is counted about each stream."""
        return tuple(StreamReport(s.codec.value, s.layer, s.mode.value, s.sent) for s in self._all)

    @property
    def counted(self) -> list[SenderStats]:
        """The counters of all streams that were started."""
        return [stream.sent for stream in self._all if stream.sent is not None]

    @property
    def first_sent_at(self) -> float | None:
        """Monotonic seconds of when the first packets were handed over for sending to the viewer."""
        return min((s.first_sent_at for s in self._all if s.first_sent_at is not None), default=None)

    def close(self) -> None:
        """Leave fan-out and talk-back, and say goodbye; idempotent."""
        self._is_closed = True
        for stream in self._all:
            stream.close()
        self.by_ssrc.clear()
        if self._incoming is not None:
            self._incoming.close()
        if self._talker is not None and self._talkback is not None:
            self._talkback.leave(self._talker)
