"""Encoders that run on the CPU: x264 for H.264 Constrained Baseline, libvpx for VP8. One frame in, one unit out."""

from fractions import Fraction

import av
from av.video.frame import PictureType

from media.encoders.encoder import (
    VIDEO_CLOCK_HZ,
    AccessUnit,
    EncoderError,
    EncoderSettings,
    Shape,
    VideoCapture,
)
from media.encoders.frame import private_copy

TIME_BASE = Fraction(1, VIDEO_CLOCK_HZ)
LEVEL_31_PIXELS = 3600 * 256
LEVEL_31_PIXELS_PER_S = 108_000 * 256
"""H.264, table A-1."""


class SoftwareEncoder:
    """One software encoder of a fixed picture size; the subclasses name the codec and its options."""

    name: str
    bitrate_costs_key: bool

    def __init__(self, shape: Shape, settings: EncoderSettings) -> None:
        self._shape = shape
        self._settings = settings
        self._bitrate_bps = settings.bitrate_bps
        self._context: av.VideoCodecContext | None = self._open()

    def _options(self) -> dict[str, str]:
        raise NotImplementedError

    def _open(self) -> av.VideoCodecContext:
        shape = self._shape
        context = av.CodecContext.create(self.name, "w")
        if not isinstance(context, av.VideoCodecContext):
            raise EncoderError(f"{self.name} is not a video encoder")
        context.width = shape.width
        context.height = shape.height
        context.pix_fmt = "yuv420p"
        context.time_base = TIME_BASE
        context.framerate = Fraction(shape.fps).limit_denominator(1001)
        context.bit_rate = self._bitrate_bps
        context.gop_size = max(1, round(self._settings.keyframe_interval_s * shape.fps))
        context.max_b_frames = 0
        context.thread_count = 1  # more threads cost quality and CPU; one core does 1080p at 30 fps
        context.options = self._options()
        context.open()
        return context

    def encode(self, capture: VideoCapture, is_key: bool) -> list[AccessUnit]:
        """Encode one picture; see `Encoder`."""
        if self._context is None:
            raise EncoderError(f"{self.name} is closed")
        frame = private_copy(capture.frame) if is_key else capture.frame
        if is_key:
            frame.pict_type = PictureType.I
        frame.pts = capture.timestamp
        frame.time_base = TIME_BASE
        return [
            AccessUnit(bytes(packet), capture.timestamp, packet.is_keyframe, capture.captured_at)
            for packet in self._context.encode(frame)
        ]

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate; see `Encoder`."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the codec; idempotent."""
        self._context = None


class X264Encoder(SoftwareEncoder):
    """H.264 Constrained Baseline, parameter sets before each key frame, no frame of delay."""

    name = "libx264"
    bitrate_costs_key = False

    def _options(self) -> dict[str, str]:
        ceiling = self._settings.max_bitrate_bps or self._settings.bitrate_bps
        options = {
            "preset": self._settings.preset,
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            # Without VBV a later change of the bitrate is silently ignored.
            "maxrate": str(ceiling),
            "bufsize": str(ceiling),
            # Blocks of 4x4 are 7 % of the time; without them 0.01 to 0.04 dB are lost, in three kinds of scene.
            "x264-params": "repeat-headers=1:scenecut=0:sliced-threads=0:partitions=none",
        }
        pixels = self._shape.width * self._shape.height
        if pixels <= LEVEL_31_PIXELS and pixels * self._shape.fps <= LEVEL_31_PIXELS_PER_S:
            options["level"] = "3.1"  # what the SDP promises; x264 would announce less for small pictures
        return options

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Change the rate in place, without a key frame; up to `max_bitrate_bps`, in force after about 0.5 s."""
        if self._context is None:
            return
        ceiling = self._settings.max_bitrate_bps or self._settings.bitrate_bps
        self._bitrate_bps = min(bitrate_bps, ceiling)
        self._context.bit_rate = self._bitrate_bps


class VpxEncoder(SoftwareEncoder):
    """VP8 in real-time mode, no frame of delay."""

    name = "libvpx"
    bitrate_costs_key = True

    def _options(self) -> dict[str, str]:
        return {
            "deadline": "realtime",
            "cpu-used": str(-self._settings.vp8_speed),
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
            "error-resilient": "default",
            "maxrate": str(self._bitrate_bps),
            "minrate": str(self._bitrate_bps),
            "bufsize": str(self._bitrate_bps),
        }

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Open a new codec at the new rate: libvpx ignores a change in place, so this costs a key frame."""
        if self._context is None or bitrate_bps == self._bitrate_bps:
            return
        self._bitrate_bps = bitrate_bps
        self._context = self._open()
