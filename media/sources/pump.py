"""The reader thread of a source: keeps its pace, stamps what it gives, starts it again when it dies."""

import logging
import math
import secrets
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

import av
import msgspec

from media.encoders.encoder import (
    AUDIO_CLOCK_HZ,
    OPUS_FRAME_SAMPLES,
    VIDEO_CLOCK_HZ,
    AccessUnit,
    AudioCapture,
    Capture,
    Codec,
    VideoCapture,
)
from media.sources.source import EncodedPicture, EncodedSound, Item, Picture, Sound, Source, SourceError

log = logging.getLogger(__name__)

LATE_S = 0.5
DEAD_S = 0.5
"""How long after its last picture a source that failed counts as dead."""
SILENT_S = 3.0
"""The same for one that did not fail, but gives nothing."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0
ASK_AGAIN = 15
"""Of so many pictures that nobody can decode, one asks for a key frame."""


class PumpStats(msgspec.Struct):
    """Counters of one source. `rebased` counts how often it fell behind its own clock by more than 0.5 s."""

    pictures: int = 0
    sounds: int = 0
    skipped: int = 0
    """Encoded pictures before the first key frame after a start: nobody could decode them."""
    failures: int = 0
    rebased: int = 0
    slates: int = 0
    """Pictures that stood for those of a dead source."""


class Outputs(Protocol):
    """Where captures go; called in the reader thread and never blocks."""

    def video(self, capture: VideoCapture) -> None:
        """Take a picture."""

    def audio(self, capture: AudioCapture) -> None:
        """Take 20 ms of sound."""

    def encoded(self, codec: Codec, unit: AccessUnit) -> None:
        """Take a picture or sound that the source gives encoded."""

    def slate(self, capture: VideoCapture) -> None:
        """Take a picture that stands for those of a dead source; called in the thread of `Pump.slate`."""


class Pump:
    """Plays one source in real time. Time stamps go on over every restart of the source."""

    def __init__(self, source: Source, outputs: Outputs, clock: Callable[[], float]) -> None:
        self._source = source
        self._outputs = outputs
        self._clock = clock
        self._epoch: float | None = None
        self._origin = 0.0
        self._video_timestamp = -1
        self._audio_timestamp = -OPUS_FRAME_SAMPLES
        self._waits_for_key = True
        self._lock = threading.Lock()
        self._seen_at = math.inf
        self._has_failed = False
        self.stats = PumpStats()

    @property
    def is_dead(self) -> bool:
        """A source that was started gives no picture, after a failure or without one."""
        return self._clock() - self._seen_at > (DEAD_S if self._has_failed else SILENT_S)

    def slate(self, frame: av.VideoFrame) -> None:
        """Give a picture in place of one of a dead source; from any thread, and without effect when it is not dead."""
        with self._lock:
            if not self.is_dead:
                return
            self._waits_for_key = True  # who has decoded this can go on with nothing else
            self.stats.slates += 1
            now = self._clock()
            self._outputs.slate(Capture(frame, self._video_time(self._elapsed(now)), now))

    def run(self, stop: threading.Event) -> None:
        """Play until `stop`; a dead source is tried again after 0.5 s, doubling to 30 s, with jitter."""
        retry_s = FIRST_RETRY_S
        self._seen_at, self._has_failed = self._clock(), False
        while not stop.is_set():
            before = self.stats.pictures
            reason = self._play(stop)
            if stop.is_set():
                break
            if self.stats.pictures > before:
                retry_s = FIRST_RETRY_S
            self._has_failed = True
            self.stats.failures += 1
            wait_s = retry_s * (0.5 + secrets.randbelow(512) / 1024)
            log.warning("source failed", extra={"reason": reason, "retry_s": round(wait_s, 2)})
            stop.wait(wait_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)
        self._seen_at = math.inf

    def _play(self, stop: threading.Event) -> str:
        def pace(time_s: float) -> bool:
            wait_s = self._origin + time_s - self._clock()
            if wait_s < -LATE_S:
                self._origin -= wait_s
                self.stats.rebased += 1
            return not (stop.wait(wait_s) if wait_s > 0 else stop.is_set())

        try:
            self._origin = self._clock()
            self._waits_for_key = True
            with closing(self._source.frames(pace)) as items:
                for item in items:
                    self._give(item)
                    if stop.is_set():
                        break
        except Exception as error:  # noqa: BLE001  whatever a source, a driver or a file does, the viewers stay
            return str(error) if isinstance(error, SourceError) else f"{type(error).__name__}: {error}"
        return "the source ended"

    def _give(self, item: Item) -> None:
        with self._lock:
            captured_at = self._origin + item.time_s
            elapsed = self._elapsed(captured_at)
            if isinstance(item, (Sound, EncodedSound)):
                timestamp = max(round(elapsed * AUDIO_CLOCK_HZ), self._audio_timestamp + OPUS_FRAME_SAMPLES)
                self._audio_timestamp = timestamp
                self.stats.sounds += 1
                self._give_sound(item, timestamp, captured_at)
            elif isinstance(item, EncodedPicture) and self._waits_for_key and not item.is_key:
                self._skip()
            else:
                self._waits_for_key = self._has_failed = False
                self._seen_at = self._clock()
                self.stats.pictures += 1
                self._give_picture(item, self._video_time(elapsed), captured_at)

    def _elapsed(self, captured_at: float) -> float:
        if self._epoch is None:
            self._epoch = captured_at
        return max(captured_at - self._epoch, 0.0)

    def _video_time(self, elapsed: float) -> int:
        self._video_timestamp = max(round(elapsed * VIDEO_CLOCK_HZ), self._video_timestamp + 1)
        return self._video_timestamp

    def _skip(self) -> None:
        if self._source.can_request_keyframe and self.stats.skipped % ASK_AGAIN == 0:
            self._source.request_keyframe()
        self.stats.skipped += 1

    def _give_picture(self, item: Picture | EncodedPicture, timestamp: int, captured_at: float) -> None:
        if isinstance(item, Picture):
            self._outputs.video(Capture(item.frame, timestamp, captured_at))
        else:
            self._outputs.encoded(item.codec, AccessUnit(item.data, timestamp, item.is_key, captured_at))

    def _give_sound(self, item: Sound | EncodedSound, timestamp: int, captured_at: float) -> None:
        if isinstance(item, Sound):
            self._outputs.audio(Capture(item.frame, timestamp, captured_at))
        else:
            self._outputs.encoded(item.codec, AccessUnit(item.data, timestamp, True, captured_at))
