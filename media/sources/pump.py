"""The reader thread of a source: keeps its pace, stamps what it gives, starts it again when it dies."""

import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

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
from media.sources.source import EncodedPicture, EncodedSound, Item, Picture, Sound, Source

log = logging.getLogger(__name__)

LATE_S = 0.5
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0


class PumpStats(msgspec.Struct):
    """Counters of one source. `rebased` counts how often it fell behind its own clock by more than 0.5 s."""

    pictures: int = 0
    sounds: int = 0
    skipped: int = 0
    """Encoded pictures before the first key frame after a start: nobody could decode them."""
    failures: int = 0
    rebased: int = 0


class Outputs(Protocol):
    """Where captures go; called in the reader thread and never blocks."""

    def video(self, capture: VideoCapture) -> None:
        """Take a picture."""

    def audio(self, capture: AudioCapture) -> None:
        """Take 20 ms of sound."""

    def encoded(self, codec: Codec, unit: AccessUnit) -> None:
        """Take a picture or sound that the source gives encoded."""


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
        self.stats = PumpStats()

    def run(self, stop: threading.Event) -> None:
        """Play until `stop`; a dead source is tried again after 0.5 s, doubling to 30 s, with jitter."""
        retry_s = FIRST_RETRY_S
        while not stop.is_set():
            before = self.stats.pictures
            reason = self._play(stop)
            if stop.is_set():
                return
            if self.stats.pictures > before:
                retry_s = FIRST_RETRY_S
            self.stats.failures += 1
            wait_s = retry_s * (0.5 + secrets.randbelow(512) / 1024)
            log.warning("source failed", extra={"reason": reason, "retry_s": round(wait_s, 2)})
            stop.wait(wait_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)

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
            return f"{type(error).__name__}: {error}"
        return "the source ended"

    def _give(self, item: Item) -> None:
        captured_at = self._origin + item.time_s
        if self._epoch is None:
            self._epoch = captured_at
        elapsed = max(captured_at - self._epoch, 0.0)
        if isinstance(item, EncodedPicture) and self._waits_for_key and not item.is_key:
            self.stats.skipped += 1
        elif isinstance(item, (Picture, EncodedPicture)):
            timestamp = max(round(elapsed * VIDEO_CLOCK_HZ), self._video_timestamp + 1)
            self._video_timestamp = timestamp
            self._waits_for_key = False
            self.stats.pictures += 1
            self._give_picture(item, timestamp, captured_at)
        else:
            timestamp = max(round(elapsed * AUDIO_CLOCK_HZ), self._audio_timestamp + OPUS_FRAME_SAMPLES)
            self._audio_timestamp = timestamp
            self.stats.sounds += 1
            self._give_sound(item, timestamp, captured_at)

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
