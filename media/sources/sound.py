"""Sound of any kind -> 20 ms of 48 kHz stereo; and which Opus packets can be passed on as they are."""

from collections.abc import Iterator

import av

from media.encoders.encoder import AUDIO_CLOCK_HZ, OPUS_FRAME_SAMPLES
from media.sources.source import Sound

SOUND_S = OPUS_FRAME_SAMPLES / AUDIO_CLOCK_HZ
GAP_S = 0.1
"""A live source whose sound is off by more has lost some; less is jitter."""
_SILK_S = (0.01, 0.02, 0.04, 0.06)
_CELT_S = (0.0025, 0.005, 0.01, 0.02)


class SoundCutter:
    """Cuts sound into pieces of 20 ms; a rest at the end is lost.

    Gaps are closed, so that sound never overlaps; with `follows` one of more than 0.1 s is kept, as is a jump.
    """

    def __init__(self, offset_s: float = 0.0, follows: bool = False) -> None:
        self._resampler = _resampler()
        self._offset_s = offset_s
        self._follows = follows
        self._start_s: float | None = None
        self._count = 0
        self._taken_s = 0.0
        self._next_s = 0.0

    def cut(self, frame: av.AudioFrame, time_s: float | None) -> Iterator[Sound]:
        """Sounds that are complete after `frame`, which was taken at `time_s`."""
        if self._start_s is None:
            self._start_s = time_s or 0.0
        elif self._follows and time_s is not None and abs(time_s - self._start_s - self._taken_s) > GAP_S:
            self._resampler = _resampler()
            self._start_s, self._count, self._taken_s = time_s, 0, 0.0
        self._taken_s += frame.samples / frame.sample_rate
        frame.pts = None  # else the resampler fills or refuses what the time stamps leave open
        for piece in self._resampler.resample(frame):
            if piece.samples != OPUS_FRAME_SAMPLES:
                continue
            time_s = self._offset_s + self._start_s + self._count * SOUND_S
            self._count += 1
            if time_s >= self._next_s - SOUND_S / 2:  # else a jump went back, and this place is taken
                self._next_s = time_s + SOUND_S
                yield Sound(piece, time_s)


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="s16", layout="stereo", rate=AUDIO_CLOCK_HZ, frame_size=OPUS_FRAME_SAMPLES)


def opus_duration_s(packet: bytes) -> float:
    """How long an Opus packet lasts; 0 for one that is none (RFC 6716, 3.1 and 3.2)."""
    if not packet:
        return 0.0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame_s = _SILK_S[config % 4]
    elif config < 16:
        frame_s = (0.01, 0.02)[config % 2]
    else:
        frame_s = _CELT_S[config % 4]
    if code < 3:
        return frame_s * (1 if code == 0 else 2)
    return frame_s * (packet[1] & 0x3F) if len(packet) > 1 else 0.0


def is_passable(packet: bytes) -> bool:
    """Whether a packet is what our own encoder would give: 20 ms of Opus."""
    return abs(opus_duration_s(packet) - SOUND_S) < 1e-6
