"""The decoder of a viewer in a thread of its own: frames in through a bounded queue, what their pictures show out."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import av
from av.codec.context import Flags

from media.encoders.encoder import AccessUnit
from media.encoders.inbox import UnitInbox
from media.peer.tally import Seen
from media.sources import counter

_log = logging.getLogger(__name__)

QUEUE_UNITS = 16
"""About half a second; when the decoder is further behind, all up to the next key frame is dropped."""

_IDLE_S = 0.5
_NAMES = {"H264": "h264", "VP8": "vp8"}


class PictureDecoder:
    """Calls `see` with every decoded picture and `fail` when it needs a key frame, both from its own thread."""

    def __init__(self, see: Callable[[Seen], None], fail: Callable[[], None]) -> None:
        self.dropped = 0
        self._see = see
        self._fail = fail
        self._inbox = UnitInbox(QUEUE_UNITS)
        self._codec = ""

    def put(self, codec: str, unit: AccessUnit) -> None:
        """Hand over a frame; from the event loop."""
        if unit.is_key:
            self._codec = codec
        lost = self._inbox.put(unit)
        if lost:
            self.dropped += lost
            self._fail()

    def close(self) -> None:
        """Wake the thread, so that it sees that it shall stop."""
        self._inbox.close()

    def run(self, stop: threading.Event) -> None:
        """Decode until `stop`."""
        name, decoder = "", None
        while not stop.is_set():
            unit = self._inbox.take(_IDLE_S)
            if unit is None:
                continue
            if decoder is None or (unit.is_key and name != self._codec):
                name = self._codec
                decoder = _open(name)
            self._decode(decoder, unit)

    def _decode(self, decoder: av.VideoCodecContext, unit: AccessUnit) -> None:
        packet: av.Packet[Any] = av.Packet(unit.data)
        packet.pts = packet.dts = unit.timestamp
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError as error:
            _log.info("picture not decoded", extra={"reason": str(error)})
            self._fail()
            return
        wall_ms = time.time_ns() // 1_000_000  # as soon as the picture is there, before the counter is read
        for frame in frames:
            self._see(_look(frame, wall_ms, len(unit.data)))


def _open(codec: str) -> av.VideoCodecContext:
    context = av.CodecContext.create(_NAMES[codec], "r")
    if not isinstance(context, av.VideoCodecContext):
        raise TypeError(f"{codec} has no video decoder")
    context.thread_count = 1  # more threads decode no sooner: each delays the picture by a frame
    context.flags |= Flags.low_delay
    return context


def _look(frame: av.VideoFrame, wall_ms: int, size: int) -> Seen:
    plane = frame.planes[0]
    read = counter.read(memoryview(plane), plane.line_size, frame.width, frame.height)
    return Seen(frame.width, frame.height, size, wall_ms, read)
