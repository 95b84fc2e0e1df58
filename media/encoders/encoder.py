"""What an encoder is: captures in, access units out. Values and an interface; opens no codec."""

import enum
from typing import Generic, Protocol, TypeVar

import av
import msgspec

from media.encoders.backends import Backend

VIDEO_CLOCK_HZ = 90_000
"""RTP clock of all video (RFC 6184, 8.2.1; RFC 7741, 6.1)."""
AUDIO_CLOCK_HZ = 48_000
"""RTP clock of Opus, whatever its sampling rate (RFC 7587, 4.1)."""
OPUS_FRAME_SAMPLES = 960
"""Samples per channel of one Opus packet: 20 ms at 48 kHz."""


class Codec(enum.Enum):
    """The codecs this build encodes; the value is the encoding name used in SDP."""

    H264 = "H264"
    VP8 = "VP8"
    OPUS = "opus"

    @property
    def is_video(self) -> bool:
        """False for Opus alone."""
        return self is not Codec.OPUS

    @property
    def clock_hz(self) -> int:
        """RTP clock rate."""
        return VIDEO_CLOCK_HZ if self.is_video else AUDIO_CLOCK_HZ


class EncoderError(Exception):
    """An encoder could not be opened or chosen; the text is a sentence for the operator."""


class EncoderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to encode: names and rates.

    `bitrate_bps` is the video rate at the start and the most that `set_bitrate` may ask for, unless
    `max_bitrate_bps` is given. `encoder` is `auto` or a name of the table of backends; of the devices `auto` takes
    those that are `usable`. `preset` is one of x264.
    """

    bitrate_bps: int = 2_000_000
    max_bitrate_bps: int | None = None
    audio_bitrate_bps: int = 64_000
    encoder: str = "auto"
    usable: tuple[Backend, ...] = ()
    preset: str = "superfast"
    vp8_speed: int = 8
    keyframe_interval_s: float = 10.0
    """Longest time without a key frame; viewers ask for theirs, so this is only a safety net."""
    linger_s: float = 5.0
    """How long an encoder that nobody watches is kept."""


class Shape(msgspec.Struct, frozen=True):
    """Size of the picture in pixels and nominal frames per second."""

    width: int
    height: int
    fps: float


class AccessUnit(msgspec.Struct, frozen=True):
    """One encoded picture or sound packet: H.264 Annex-B, one VP8 frame or one Opus packet.

    `timestamp` counts in units of the RTP clock, 0 at the start of the feed, strictly rising and not wrapped;
    `captured_at` is the monotonic time in seconds at which the picture or the sound was taken. `audio_level` is -dBov
    of sound, 0 (loudest) to 127 (silence), None of pictures and where it was not measured. `layer` is the number of
    the size of the picture, 0 for the full one; see `media/control/ladder.py`.
    """

    data: bytes
    timestamp: int
    is_key: bool
    captured_at: float
    audio_level: int | None = None
    layer: int = 0


F = TypeVar("F", av.VideoFrame, av.AudioFrame)


class Capture(msgspec.Struct, Generic[F], frozen=True, eq=False):
    """One raw frame with its place in time; the times are those of `AccessUnit`.

    Encoders share the frame, so nobody writes to it.
    """

    frame: F
    timestamp: int
    captured_at: float


FrameIn = TypeVar("FrameIn", av.VideoFrame, av.AudioFrame)


class Encoder(Protocol[FrameIn]):
    """One open encoder; used by one thread at a time."""

    name: str
    bitrate_costs_key: bool
    """Whether each change of the bitrate makes a key frame, so that it should come seldom."""

    def encode(self, capture: Capture[FrameIn], is_key: bool) -> list[AccessUnit]:
        """Encode one frame; the first one and each with `is_key` becomes a key frame.

        Raises: EncoderError, av.FFmpegError: this encoder is broken, open another.
        """

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate from the next frame on."""

    def close(self) -> None:
        """Free the codec; idempotent."""


VideoCapture = Capture[av.VideoFrame]
AudioCapture = Capture[av.AudioFrame]
VideoEncoder = Encoder[av.VideoFrame]
AudioEncoder = Encoder[av.AudioFrame]
