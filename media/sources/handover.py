"""From the thread that reads a live source to the one that plays it: bounded, and the newest picture wins."""

import threading
from collections import deque

import msgspec

from media.sources.source import EncodedPicture, Item, Picture

SOUNDS = 25
ENCODED = 60
"""Two seconds at 30 pictures per second; they are small, and each needs the one before it."""


class HandoverStats(msgspec.Struct):
    """What was lost because the player was late."""

    pictures: int = 0
    sounds: int = 0


class Handover:
    """Holds one raw picture, the newest; 25 sounds, of which the oldest goes; 60 encoded pictures.

    When those are too many all of them go, and what comes up to the next key frame.
    """

    def __init__(self, stats: HandoverStats) -> None:
        self._pictures: deque[Item] = deque()
        self._sounds: deque[Item] = deque()
        self._ready = threading.Condition()
        self._skips_to_key = False
        self._end: Exception | None = None
        self._is_ended = False
        self.stats = stats

    def put(self, item: Item) -> None:
        """Add an item; never blocks."""
        with self._ready:
            if isinstance(item, Picture):
                self.stats.pictures += len(self._pictures)
                self._pictures.clear()
                self._pictures.append(item)
            elif isinstance(item, EncodedPicture):
                self._put_encoded(item)
            else:
                if len(self._sounds) >= SOUNDS:
                    self._sounds.popleft()
                    self.stats.sounds += 1
                self._sounds.append(item)
            self._ready.notify()

    def _put_encoded(self, item: EncodedPicture) -> None:
        if len(self._pictures) >= ENCODED:
            self.stats.pictures += len(self._pictures)
            self._pictures.clear()
            self._skips_to_key = True
        if item.is_key:
            self._skips_to_key = False
        if self._skips_to_key:
            self.stats.pictures += 1
        else:
            self._pictures.append(item)

    def end(self, error: Exception | None) -> None:
        """Nothing more comes, because of `error` or because the source ended."""
        with self._ready:
            self._end, self._is_ended = error, True
            self._ready.notify()

    def take(self, timeout_s: float) -> Item | None:
        """The earliest item; None when none came in time.

        Raises: what `end` was given, EOFError where that was nothing; what waits is given out before.
        """
        with self._ready:
            if not self._pictures and not self._sounds and not self._is_ended:
                self._ready.wait(timeout_s)
            if self._pictures and not (self._sounds and self._sounds[0].time_s < self._pictures[0].time_s):
                return self._pictures.popleft()
            if self._sounds:
                return self._sounds.popleft()
            if self._is_ended:
                raise self._end or EOFError
            return None
