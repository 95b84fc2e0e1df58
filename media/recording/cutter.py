"""Access units into pieces that begin with a key frame and last about two seconds. No clock, no disk, no codec."""

from collections.abc import Sequence

import msgspec

from media.encoders.encoder import AUDIO_CLOCK_HZ, OPUS_FRAME_SAMPLES, VIDEO_CLOCK_HZ, AccessUnit
from media.recording import parameter_sets
from media.recording.boxes import AUDIO_TRACK, VIDEO_TRACK, Run, Sample
from media.recording.parameter_sets import ParameterSets

ASK_S = 1.9
"""A piece this long asks for a key frame, so that it lasts about 2 s."""
LEAST_S = 1.0
"""A key frame that others asked for ends a piece this long."""
MOST_S = 20.0
MOST_BYTES = 16 * 1024 * 1024
"""A piece this long or large ends without a key frame: the source has none to give."""
GAP_S = 1.0
"""Without a picture for this long the piece ends at the last one."""
LATE_S = 1.0
"""Sound that is this far behind the picture is missing: what browsers can play ends where one of the tracks does."""
_ASK_AGAIN_S = 1.0
_STEP_MS = 500
_AUDIO_UNITS = 4_000
_TICKS_PER_MS = VIDEO_CLOCK_HZ // 1000
_HOLE = AUDIO_CLOCK_HZ * 120 // 1000  # no packet of Opus is longer (RFC 6716, 2.1.4)
_SILENCE = b"\xfc\xff\xfe"  # 20 ms: CELT, fullband, stereo


class Piece(msgspec.Struct, frozen=True):
    """What one segment will hold; `anchor_ms` is the epoch time (ms) of timestamp 0, `video_end` a timestamp.

    `audio` has silence where no sound came.
    """

    anchor_ms: int
    sets: ParameterSets
    video: Sequence[AccessUnit]
    video_end: int
    audio: Sequence[AccessUnit]

    @property
    def start_ms(self) -> int:
        """When it begins, epoch ms."""
        return self.anchor_ms + self.video[0].timestamp // _TICKS_PER_MS

    @property
    def duration_ms(self) -> int:
        """How long it lasts; the next piece begins at its end."""
        return max(1, self.anchor_ms + self.video_end // _TICKS_PER_MS - self.start_ms)

    def runs(self, shift_ms: int = 0) -> list[Run]:
        """Return what goes into the file, with times since the epoch and `shift_ms`."""
        zero_ms = self.anchor_ms + shift_ms
        runs = [Run(VIDEO_TRACK, zero_ms * _TICKS_PER_MS + self.video[0].timestamp, self._pictures())]
        if self.audio:
            start = zero_ms * (AUDIO_CLOCK_HZ // 1000) + self.audio[0].timestamp
            runs.append(Run(AUDIO_TRACK, start, self._sounds()))
        return runs

    def _pictures(self) -> list[Sample]:
        ends = [*(unit.timestamp for unit in self.video[1:]), self.video_end]
        return [
            Sample(parameter_sets.sample(unit.data), end - unit.timestamp, unit.is_key)
            for unit, end in zip(self.video, ends, strict=True)
        ]

    def _sounds(self) -> list[Sample]:
        ends = [*(unit.timestamp for unit in self.audio[1:]), self.audio[-1].timestamp + OPUS_FRAME_SAMPLES]
        return [Sample(unit.data, end - unit.timestamp) for unit, end in zip(self.audio, ends, strict=True)]


class Cutter:
    """Gathers what comes; not safe for threads."""

    def __init__(self) -> None:
        self._video: list[AccessUnit] = []
        self._audio: list[AccessUnit] = []
        self._sets: ParameterSets | None = None
        self._anchor_ms: int | None = None
        self._heard = 0  # the timestamp up to which there is sound in the pieces so far
        self._size_bytes = 0
        self._seen = -1
        self._ask_at = 0

    def video(self, unit: AccessUnit, offset_s: float) -> Piece | None:
        """Take a picture, and give the piece that it ends; `offset_s` leads from monotonic to epoch seconds."""
        sets = parameter_sets.find(unit.data) if unit.is_key else None
        has_changed = sets is not None and sets != self._sets
        self._seen = unit.timestamp
        if not self._video:
            self._begin(unit, sets, offset_s)
            return None
        age_s = (unit.timestamp - self._video[0].timestamp) / VIDEO_CLOCK_HZ
        if (unit.timestamp - self._video[-1].timestamp) / VIDEO_CLOCK_HZ > GAP_S:
            piece = self._end(self._video[-1].timestamp + self._last_step(), goes_on=False)
            self._audio.clear()
            self._ask_at = unit.timestamp
            self._begin(unit, sets, offset_s)
            return piece
        if (unit.is_key and (has_changed or age_s >= LEAST_S)) or age_s >= MOST_S or self._size_bytes >= MOST_BYTES:
            piece = self._end(unit.timestamp)
            self._begin(unit, sets, offset_s, goes_on=True)
            return piece
        self._add(unit)
        return None

    def audio(self, unit: AccessUnit) -> None:
        """Take sound; without a picture beside it, it is left."""
        if self._video and len(self._audio) < _AUDIO_UNITS:
            self._audio.append(unit)

    def flush(self) -> Piece | None:
        """End the piece that is open; the last picture lasts as long as the one before."""
        return self._end(self._video[-1].timestamp + self._last_step(), goes_on=False) if self._video else None

    def wants_key(self) -> bool:
        """Whether a key frame should be asked for now; True counts as asked."""
        if self._seen < self._ask_at:
            return False
        self._ask_at = self._seen + round(_ASK_AGAIN_S * VIDEO_CLOCK_HZ)
        return True

    def _begin(self, unit: AccessUnit, sets: ParameterSets | None, offset_s: float, *, goes_on: bool = False) -> None:
        self._sets = sets or self._sets
        if self._sets is None or not (unit.is_key or goes_on):
            return
        fresh_ms = round((unit.captured_at + offset_s) * 1000) - unit.timestamp // _TICKS_PER_MS
        if not goes_on:
            self._heard = max(self._heard, _in_audio(unit.timestamp))
        # A clock set back would make two pieces of one time: then ours goes on as it was.
        if self._anchor_ms is None or fresh_ms - self._anchor_ms > _STEP_MS:
            self._anchor_ms = fresh_ms
        self._ask_at = unit.timestamp + round(ASK_S * VIDEO_CLOCK_HZ)
        self._add(unit)

    def _add(self, unit: AccessUnit) -> None:
        self._video.append(unit)
        self._size_bytes += len(unit.data)

    def _end(self, video_end: int, *, goes_on: bool = True) -> Piece:
        assert self._sets is not None and self._anchor_ms is not None  # noqa: S101, PT018  set by _begin
        border = _in_audio(video_end)
        heard = sum(unit.timestamp < border for unit in self._audio)
        sound = self._without_holes(self._audio[:heard], border, is_last=not goes_on)
        piece = Piece(self._anchor_ms, self._sets, self._video, video_end, sound)
        self._video, self._audio, self._size_bytes = [], self._audio[heard:], 0
        return piece

    def _without_holes(self, units: Sequence[AccessUnit], border: int, *, is_last: bool) -> list[AccessUnit]:
        """The sound of the piece that ends at `border`: silence where it is missing, nothing twice.

        What may only be late has its place in the next piece, unless this `is_last`.
        """
        filled: list[AccessUnit] = []
        for unit in units:
            if unit.timestamp <= self._heard - OPUS_FRAME_SAMPLES:
                continue  # silence took its place
            if unit.timestamp - self._heard >= _HOLE:
                filled += self._silence((unit.timestamp - self._heard) // OPUS_FRAME_SAMPLES)
            filled.append(unit)
            self._heard = unit.timestamp + OPUS_FRAME_SAMPLES
        if is_last or border - self._heard >= LATE_S * AUDIO_CLOCK_HZ:
            filled += self._silence(-((self._heard - border) // OPUS_FRAME_SAMPLES))
        return filled

    def _silence(self, count: int) -> list[AccessUnit]:
        """So many packets of it from where the sound ends; they share their one value of bytes."""
        start = self._heard
        self._heard += max(count, 0) * OPUS_FRAME_SAMPLES
        captured_at = self._video[0].captured_at
        return [
            AccessUnit(_SILENCE, timestamp, True, captured_at)
            for timestamp in range(start, self._heard, OPUS_FRAME_SAMPLES)
        ]

    def _last_step(self) -> int:
        """How long the last picture lasts when nothing follows."""
        if len(self._video) < 2:
            return VIDEO_CLOCK_HZ // 30
        return self._video[-1].timestamp - self._video[-2].timestamp


def _in_audio(timestamp: int) -> int:
    """A timestamp of pictures in the clock of sound."""
    return timestamp * AUDIO_CLOCK_HZ // VIDEO_CLOCK_HZ
