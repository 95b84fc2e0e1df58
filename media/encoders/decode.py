"""The thread of a decoder: encoded pictures of a source in, raw ones out, for whoever cannot use them as they come."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import av
import msgspec
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from media.encoders.encoder import AccessUnit, Capture, Codec, EncoderError, Shape, VideoCapture
from media.encoders.inbox import UnitInbox

log = logging.getLogger(__name__)

BOUND = 30
"""Units that may wait: a second, in which the decoder works through what came before it was there."""
BACKLOG_UNITS, BACKLOG_BYTES = 300, 4 * 1024 * 1024
"""Longest group of pictures that is kept for a decoder that starts in its midst."""
IDLE_S = 0.2
_NAMES = {Codec.H264: "h264", Codec.VP8: "vp8"}


class DecoderStats(msgspec.Struct):
    """Counters of a decoder; `failures` are units that it could not read."""

    units: int = 0
    pictures: int = 0
    dropped_units: int = 0
    """Units for which the decoder was too slow, and those before the key frame at which it starts."""
    failures: int = 0


class Backlog:
    """The units since the last key frame, for a decoder that starts now; nothing of a group that is too long."""

    def __init__(self) -> None:
        self._units: list[AccessUnit] = []
        self._size = 0

    def keep(self, unit: AccessUnit) -> None:
        """Take the next unit of the source."""
        if unit.is_key:
            self._units, self._size = [unit], len(unit.data)
        elif self._units:
            self._units.append(unit)
            self._size += len(unit.data)
            if len(self._units) > BACKLOG_UNITS or self._size > BACKLOG_BYTES:
                self.clear()

    def clear(self) -> None:
        """The source was interrupted: what comes next does not follow."""
        self._units, self._size = [], 0

    def units(self) -> tuple[AccessUnit, ...]:
        """The key frame and all since."""
        return tuple(self._units)


class DecodeWorker:
    """Runs one decoder, which starts at a key frame; `offer` may be called from any thread.

    With a `backlog` that key frame lies in the past: it is decoded with all that followed, but not given.
    """

    def __init__(
        self,
        codec: Codec,
        shape: Shape,
        give: Callable[[VideoCapture], None],
        stats: DecoderStats,
        backlog: Sequence[AccessUnit] = (),
    ) -> None:
        self._codec = codec
        self._shape = shape
        self._give = give
        self._backlog = backlog
        self._inbox = UnitInbox(BOUND, waits_for_key=not backlog)
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
        backlog = deque(self._backlog)
        while not stop.is_set():
            unit = backlog.popleft() if backlog else self._inbox.take(IDLE_S)
            if unit is None:
                continue
            self.stats.units += 1
            if decoder is None:
                decoder = self._open()
            waiting.append(unit)
            try:
                for frame in decoder.decode(_packet(unit)):
                    if not backlog:
                        self._emit(frame, waiting)
            except Exception as error:  # noqa: BLE001  whatever a camera sends, the feed must outlive it
                self.stats.failures += 1
                log.debug("picture not decoded", extra={"reason": f"{type(error).__name__}: {error}"})

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
