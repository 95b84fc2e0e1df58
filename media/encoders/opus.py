"""The one Opus encoder: 20 ms of 48 kHz stereo in, one packet out."""

import math
from fractions import Fraction

import av

from media.encoders.encoder import AUDIO_CLOCK_HZ, AccessUnit, AudioCapture, EncoderError, EncoderSettings

_LEVEL_STEP = 7  # every seventh sample, left and right in turn, is enough for a level
_FULL_SCALE = 32768
_SILENCE = 127


def level(samples: memoryview) -> int:
    """Level of interleaved stereo s16 in -dBov, 0 (loudest) to 127 (silence) (RFC 6464, 3)."""
    heard = samples[::_LEVEL_STEP].tolist()
    power = sum(sample * sample for sample in heard) / max(len(heard), 1)
    if not power:
        return _SILENCE
    return min(max(round(-10 * math.log10(power / _FULL_SCALE**2)), 0), _SILENCE)


class OpusEncoder:
    """Opus at `audio_bitrate_bps`; each packet stands alone, so each is a key frame."""

    name = "libopus"
    bitrate_costs_key = False

    def __init__(self, settings: EncoderSettings) -> None:
        self._context: av.AudioCodecContext | None = self._open(settings.audio_bitrate_bps)

    def _open(self, bitrate_bps: int) -> av.AudioCodecContext:
        context = av.CodecContext.create(self.name, "w")
        if not isinstance(context, av.AudioCodecContext):
            raise EncoderError(f"{self.name} is not an audio encoder")
        context.sample_rate = AUDIO_CLOCK_HZ
        context.layout = "stereo"
        context.format = "s16"
        context.time_base = Fraction(1, AUDIO_CLOCK_HZ)
        context.bit_rate = bitrate_bps
        context.options = {"frame_duration": "20", "application": "audio", "vbr": "on"}
        context.open()
        return context

    def encode(self, capture: AudioCapture, is_key: bool) -> list[AccessUnit]:
        """Encode 960 samples; `is_key` changes nothing."""
        if self._context is None:
            raise EncoderError(f"{self.name} is closed")
        frame = capture.frame
        frame.pts = capture.timestamp
        frame.time_base = Fraction(1, AUDIO_CLOCK_HZ)
        loudness = level(memoryview(frame.planes[0]).cast("B")[: 4 * frame.samples].cast("h"))
        return [
            AccessUnit(bytes(packet), capture.timestamp, True, capture.captured_at, loudness)
            for packet in self._context.encode(frame)
        ]

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Open a new codec at the new rate: FFmpeg's libopus ignores a change in place."""
        if self._context is not None:
            self._context = self._open(bitrate_bps)

    def close(self) -> None:
        """Free the codec; idempotent."""
        self._context = None
