"""What a viewer does with the media of one peer connection: receive, decode, count; sound is received and left out."""

import asyncio
import contextlib
import logging
import threading

from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCRtpTransceiver

from media.encoders.encoder import AccessUnit
from media.encoders.thread import in_thread
from media.peer import attach
from media.peer.decoder import PictureDecoder
from media.peer.incoming import IncomingStream
from media.peer.path import DtlsPath
from media.peer.tally import Seen, Tally
from media.rtp import feedback
from media.rtp.assemble import Frame
from media.rtp.depacketize import FORMS
from media.rtp.feedback import SenderReport
from media.rtp.receive import Incoming

_log = logging.getLogger(__name__)

STALL_S = 3.0
"""Neither picture nor sender report for this long after the first picture: the media has ended."""


class Watching:
    """`ended` is set when the tally is full or nothing comes any more."""

    def __init__(self, connection: RTCPeerConnection, tally: Tally, stall_s: float = STALL_S) -> None:
        self.ended = asyncio.Event()
        self.offered_at = 0.0
        self._connection = connection
        self._tally = tally
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._is_pictured = False
        self._alive = asyncio.Event()
        self._streams: list[IncomingStream] = []
        self._video: IncomingStream | None = None
        self._decoder = PictureDecoder(self._from_thread, self._failed)

    def receive(self, transceiver: RTCRtpTransceiver) -> None:
        """Take what comes in this section as soon as it does."""
        attach.replace_receiver(transceiver, self._start)

    async def run(self) -> None:
        """Decode until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._notice_the_end())
            group.create_task(in_thread("viewer-decoder", self._decoder.run, threading.Event(), self._decoder.close))

    def close(self) -> None:
        """Take nothing any more; idempotent."""
        for stream in self._streams:
            stream.close()

    def _start(self, incoming: Incoming, dtls: RTCDtlsTransport) -> None:
        is_video = incoming.kind == "video"
        give = self._give if is_video else _ignore
        on_end = self.ended.set if is_video else _nothing
        stream = IncomingStream(incoming, DtlsPath(dtls), give, on_end)
        self._streams.append(stream)
        if is_video:
            self._video = stream
            self._tally.stream = stream.receiver.stats
        attach.hear_rtp(dtls, incoming.payload_types, stream.packet_received)
        attach.hear_rtcp(dtls, self._rtcp_received)

    def _rtcp_received(self, data: bytes) -> None:
        for event in feedback.parse(data):
            if self._is_pictured and isinstance(event, SenderReport):
                self._alive.set()  # masters go on with them while they send no picture for a while
            for stream in self._streams:
                stream.rtcp_received(event)

    def _give(self, frame: Frame) -> None:
        if self._video is None:
            return
        codec = self._video.receiver.incoming.codecs[frame.payload_type].name
        data = FORMS[codec].join(frame.payloads) if codec in FORMS else None
        if data is None:
            self._video.request_keyframe()
            return
        self._tally.codec = codec
        self._decoder.put(codec, AccessUnit(data, frame.timestamp, frame.is_key, frame.received_at))

    def _failed(self) -> None:
        if self._video is not None:
            self._loop.call_soon_threadsafe(self._video.request_keyframe)

    def _from_thread(self, seen: Seen) -> None:
        self._loop.call_soon_threadsafe(self._seen, seen)

    def _seen(self, seen: Seen) -> None:
        was_full = self._tally.is_full
        if was_full:
            return
        now = self._loop.time()
        self._tally.add(seen, now - self.offered_at, now)
        self._is_pictured = True
        self._alive.set()
        if not self._tally.path:
            self._note_the_path()
        if self._tally.is_full:
            self.ended.set()

    def _note_the_path(self) -> None:
        types = attach.selected_types(self._connection)
        if types is not None:
            self._tally.path = "relay" if "relay" in types else types[0]
            self._tally.is_one_machine = attach.is_one_machine(self._connection)

    async def _notice_the_end(self) -> None:
        await self._alive.wait()
        while self._alive.is_set():
            self._alive.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._stall_s):
                    await self._alive.wait()
        _log.info("media ended")
        self.ended.set()


def _ignore(_: Frame) -> None:
    pass


def _nothing() -> None:
    pass
