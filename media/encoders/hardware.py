"""Encoders that run on a device through FFmpeg: NVENC, QSV, VA-API, AMF, V4L2 and VideoToolbox."""

import re
import threading
from fractions import Fraction
from typing import Any

import av
import av.logging
from av.codec.hwaccel import HWAccel
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from media import h264
from media.encoders import failure
from media.encoders.backends import Backend, LiveBitrate
from media.encoders.encoder import (
    VIDEO_CLOCK_HZ,
    AccessUnit,
    EncoderError,
    EncoderSettings,
    Shape,
    VideoCapture,
)
from media.encoders.failure import OrderError
from media.encoders.frame import private_copy

TIME_BASE = Fraction(1, VIDEO_CLOCK_HZ)
MOST_HELD = 64
"""Pictures that an encoder may hold back before the oldest is given up."""
_GPU = re.compile(r"GPU #\d+ - < (.*?) > has Compute")
_LOG = threading.Lock()  # the level of FFmpeg's log is one for the process


class HardwareEncoder:
    """One encoder on a device.

    Where the table of backends says that it ignores a forced key frame or a change of bitrate, it is opened anew
    instead, which costs a key frame; so whoever uses it sees both happen.
    """

    def __init__(self, backend: Backend, shape: Shape, settings: EncoderSettings) -> None:
        self.name = backend.encoder
        self.bitrate_costs_key = backend.bitrate is not LiveBitrate.IN_PLACE
        self._backend = backend
        self._shape = shape
        self._settings = settings
        self._bitrate_bps = settings.bitrate_bps
        self._reformatter = VideoReformatter()
        self._times: dict[int, float] = {}
        self._last = -1
        self._parameter_sets = h264.ParameterSets()
        self.device = ""
        self._context: av.VideoCodecContext | None = self._open()

    def _open(self) -> av.VideoCodecContext:
        backend = self._backend
        try:
            accelerator = HWAccel(backend.hwaccel) if backend.hwaccel else None
            context = av.CodecContext.create(backend.encoder, "w", hwaccel=accelerator)
        except av.codec.codec.UnknownCodecError as error:
            reason = failure.Failure(failure.FailureClass.NOT_IN_BUILD, str(error), backend.name)
            raise failure.OpenError(reason) from None
        if not isinstance(context, av.VideoCodecContext):
            raise EncoderError(f"{backend.encoder} is not a video encoder")
        self._configure(context)
        said = _open_listening(context, backend.name)
        gpu = _GPU.search(said)
        self.device = gpu[1] if gpu else ""
        self._parameter_sets = h264.ParameterSets(context.extradata or b"")
        self._times.clear()
        return context

    def _configure(self, context: av.VideoCodecContext) -> None:
        shape, settings = self._shape, self._settings
        context.width, context.height = shape.width, shape.height
        context.pix_fmt = self._backend.pixel_format
        context.time_base = TIME_BASE
        context.framerate = Fraction(shape.fps).limit_denominator(1001)
        context.bit_rate = self._bitrate_bps
        context.gop_size = max(1, round(settings.keyframe_interval_s * shape.fps))
        context.max_b_frames = 0
        context.options = self._backend.all_options(self._bitrate_bps, self._ceiling_bps)

    @property
    def _ceiling_bps(self) -> int:
        return self._settings.max_bitrate_bps or self._settings.bitrate_bps

    def encode(self, capture: VideoCapture, is_key: bool) -> list[AccessUnit]:
        """Encode one picture; see `Encoder`. The device may hold pictures back: units keep the time of their own."""
        if self._context is None:
            raise EncoderError(f"{self.name} is closed")
        if is_key and not self._backend.forces_key:
            self._context = self._open()
        frame = capture.frame
        if frame.format.name != self._backend.pixel_format:
            frame = self._reformatter.reformat(frame, format=self._backend.pixel_format, threads=1)
        elif is_key:
            frame = private_copy(frame)
        if is_key:
            frame.pict_type = PictureType.I
        frame.pts = capture.timestamp
        frame.time_base = TIME_BASE
        self._times[capture.timestamp] = capture.captured_at
        while len(self._times) > MOST_HELD:
            del self._times[next(iter(self._times))]
        return [self._unit(packet) for packet in self._context.encode(frame)]

    def _unit(self, packet: "av.Packet[Any]") -> AccessUnit:
        timestamp = packet.pts
        if timestamp is None or timestamp <= self._last:
            raise OrderError(f"{self.name} gave the picture of {timestamp} after that of {self._last}")
        captured_at = self._times.pop(timestamp, None)
        if captured_at is None:
            raise OrderError(f"{self.name} gave a picture of {timestamp}, which it did not get")
        self._last = timestamp
        data = h264.with_start_codes(bytes(packet))
        if packet.is_keyframe:
            data = self._parameter_sets.complete(data) or data
        return AccessUnit(data, timestamp, packet.is_keyframe, captured_at)

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate; see `Encoder`."""
        wanted = min(bitrate_bps, self._ceiling_bps)
        if self._context is None or wanted == self._bitrate_bps:
            return
        self._bitrate_bps = wanted
        if self._backend.bitrate is LiveBitrate.REOPEN:
            self._context = self._open()
        else:
            self._context.bit_rate = wanted

    def close(self) -> None:
        """Free the codec; idempotent."""
        self._context = None


def _open_listening(context: av.VideoCodecContext, name: str) -> str:
    """Open a codec and give what FFmpeg logged, which tells why it does not open; the exception alone would not.

    Raises: failure.OpenError.
    """
    is_ours = _LOG.acquire(blocking=False)  # when another thread is here, the level is set already
    level = av.logging.get_level()
    try:
        if is_ours:
            av.logging.set_level(av.logging.VERBOSE)
        with av.logging.Capture() as lines:
            context.open()
        return "\n".join(line[2] for line in lines)
    except av.FFmpegError as error:
        said = "\n".join([*(line[2] for line in lines), str(error)])
        raise failure.OpenError(failure.classify(said, name)) from error
    finally:
        if is_ours:
            av.logging.set_level(level)
            _LOG.release()
