"""The thread of a decoder: encoded pictures of a source in, raw ones out, for whoever cannot use them as they come."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import av
import msgspec
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from media.encoders.encoder import AccessUnit, Capture, Codec, EncoderError, Shape, VideoCapture
from media.encoders.inbox import UnitInbox

log = logging.getLogger(__name__)

BOUND = 8
IDLE_S = 0.2
_NAMES = {Codec.H264: "h264", Codec.VP8: "vp8"}


class DecoderStats(msgspec.Struct):
    """Counters of a decoder; `failures` are units that it could not read."""

    units: int = 0
    pictures: int = 0
    dropped_units: int = 0
    """Units for which the decoder was too slow, and those before the key frame at which it starts."""
    failures: int = 0


class DecodeWorker:
    """Runs one decoder, which starts at a key frame; `offer` may be called from any thread."""

    def __init__(self, codec: Codec, shape: Shape, give: Callable[[VideoCapture], None], stats: DecoderStats) -> None:
        self._codec = codec
        self._shape = shape
        self._give = give
        self._inbox = UnitInbox(BOUND)
        self._reformatter = VideoReformatter()
        self.stats = stats

    def offer(self, unit: AccessUnit) -> None:
        """Hand over a unit; when the decoder is behind, all up to the next key frame is dropped."""
        self.stats.dropped_units += self._inbox.put(unit)

    def close(self) -> None:
        """Wake the thread, so that it sees that it shall stop."""
        self._inbox.close()

    def run(self, stop: threading.Event) -> None:
        """Decode until `stop`; what is damaged costs its pictures, no more."""
        decoder: av.VideoCodecContext | None = None
        waiting: deque[AccessUnit] = deque(maxlen=BOUND)
        while not stop.is_set():
            unit = self._inbox.take(IDLE_S)
            if unit is None:
                continue
            self.stats.units += 1
            if decoder is None:
                decoder = self._open()
            waiting.append(unit)
            try:
                frames = decoder.decode(_packet(unit))
            except av.FFmpegError as error:
                self.stats.failures += 1
                log.debug("picture not decoded", extra={"reason": str(error)})
                continue
            for frame in frames:
                self._emit(frame, waiting)

    def _open(self) -> av.VideoCodecContext:
        context = av.CodecContext.create(_NAMES[self._codec], "r")
        if not isinstance(context, av.VideoCodecContext):
            raise EncoderError(f"{self._codec.value} has no video decoder")
        context.thread_count = 1
        context.flags |= Flags.low_delay
        return context

    def _emit(self, frame: av.VideoFrame, waiting: deque[AccessUnit]) -> None:
        while waiting and waiting[0].timestamp != frame.pts:
            waiting.popleft()
        if not waiting:
            return
        unit = waiting.popleft()
        fitted = self._reformatter.reformat(frame, self._shape.width, self._shape.height, "yuv420p", threads=1)
        fitted.pict_type = PictureType.NONE
        self.stats.pictures += 1
        self._give(Capture(fitted, unit.timestamp, unit.captured_at))


def _packet(unit: AccessUnit) -> "av.Packet[Any]":
    packet = av.Packet(unit.data)
    packet.pts = packet.dts = unit.timestamp
    return packet
