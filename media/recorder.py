"""Records a feed: takes its access units on the event loop, and has a thread of its own write them to disk.

It knows the feed, the queue between and what is said when the disk fails; what is cut where is `recording/cutter.py`,
what is on the disk `recording/folder.py`.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from media.encoders.encoder import AccessUnit, Codec
from media.recording.cutter import Cutter, Piece
from media.recording.folder import FolderStats, RecordingError

log = logging.getLogger(__name__)

QUEUE = 5
"""Pieces (of 2 s) that may wait for the disk; when it is full the newest one is lost."""
STOP_S = 1.0
TIDY_S = 60.0


class Feed(Protocol):
    """The part of `media/feed.py` that a recorder needs."""

    has_audio: bool

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None]) -> Callable[[], None]:
        """Call `sink` on the event loop for each access unit until the answer is called."""

    def request_keyframe(self, codec: Codec) -> None:
        """Ask for a key frame soon; many requests become one."""


class Store(Protocol):
    """Where pieces go; see `media/recording/folder.py`."""

    stats: FolderStats

    def open(self) -> None:
        """Make ready. Raises: RecordingError."""

    def write(self, piece: Piece) -> object:
        """Write a piece. Raises: RecordingError, and the piece is lost."""

    def tidy(self) -> None:
        """Do what follows a write. Raises: RecordingError."""

    def close(self, *, is_complete: bool = False) -> None:
        """Let go. Raises: RecordingError."""


class RecorderStats(msgspec.Struct):
    """Plain counters: pieces lost, by the reason `slow` (for the disk) or `failed`; key frames asked for."""

    lost: dict[str, int] = msgspec.field(default_factory=lambda: {"slow": 0, "failed": 0})
    keyframe_requests: int = 0


class Recorder:
    """Records H.264 and Opus of one feed; counts as somebody who watches, so the encoders run all the time."""

    def __init__(
        self,
        feed: Feed,
        folder: Store,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.stats = RecorderStats()
        self.folder = folder
        self._feed = feed
        self._clock = clock
        self._wall = wall
        self._cutter = Cutter()
        self._queue: queue.Queue[Piece | None] = queue.Queue(QUEUE)
        self._troubles: set[str] = set()

    async def run(self) -> None:
        """Record until cancelled; then what is open is written, for at most a second."""
        thread = threading.Thread(target=self._write_all, name="record", daemon=True)
        thread.start()
        detach = [self._feed.attach(Codec.H264, self._video)]
        if self._feed.has_audio:
            detach.append(self._feed.attach(Codec.OPUS, self._cutter.audio))
        try:
            await asyncio.Event().wait()
        finally:
            for leave in detach:
                leave()
            self._end()
            await asyncio.to_thread(thread.join, STOP_S)

    def _video(self, unit: AccessUnit) -> None:
        piece = self._cutter.video(unit, self._wall() - self._clock())
        if piece is not None:
            self._hand_over(piece)
        if self._cutter.wants_key():
            self.stats.keyframe_requests += 1
            self._feed.request_keyframe(Codec.H264)

    def _hand_over(self, piece: Piece) -> None:
        try:
            self._queue.put_nowait(piece)
        except queue.Full:
            self.stats.lost["slow"] += 1
            self._failed(f"the disk is too slow: {QUEUE} pieces wait for it")

    def _end(self) -> None:
        piece = self._cutter.flush()
        if piece is not None:
            self._hand_over(piece)
        try:
            self._queue.put_nowait(None)
        except queue.Full:  # the disk hangs: the thread ends with the process
            log.warning("recording not ended in order", extra={"waiting": self._queue.qsize()})

    def _write_all(self) -> None:
        self._try(self.folder.open)
        while (piece := self._next()) is not None:
            try:
                self._write(piece)
            except Exception:  # our own fault in one piece must not end the recording, nor the picture
                self.stats.lost["failed"] += 1
                log.exception("recording failed")
        self._try(partial(self.folder.close, is_complete=True))

    def _next(self) -> Piece | None:
        while True:
            try:
                return self._queue.get(timeout=TIDY_S)
            except queue.Empty:
                self._try(self.folder.tidy)  # time passes for what is there, too

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except RecordingError as error:
            self._failed(str(error))
            return False
        return True

    def _write(self, piece: Piece) -> None:
        try:
            self.folder.write(piece)
        except RecordingError as error:
            self.stats.lost["failed"] += 1
            self._failed(str(error))
            self._try(self.folder.tidy)  # what it removes may make room
            return
        if self._try(self.folder.tidy) and self._troubles and self._queue.qsize() < QUEUE - 1:
            self._troubles.clear()
            log.info("recording goes on", extra={"lost": sum(self.stats.lost.values())})

    def _failed(self, reason: str) -> None:
        """Say it once until it works again."""
        if reason not in self._troubles:
            self._troubles.add(reason)
            log.warning("recording lost", extra={"reason": reason})
