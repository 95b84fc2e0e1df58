"""A feed: one source, one encoder per codec, any number of sinks. Runs only while somebody watches."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import av
import msgspec

from media.encoders import choose
from media.encoders.encoder import (
    AccessUnit,
    AudioCapture,
    Codec,
    EncoderSettings,
    Shape,
    VideoCapture,
)
from media.encoders.outlet import Outlet
from media.encoders.worker import EncoderStats, EncoderWorker
from media.sources.pump import Pump, PumpStats
from media.sources.source import Source

__all__ = ["AccessUnit", "Codec", "EncoderSettings", "Feed", "FeedStats", "Sink"]

log = logging.getLogger(__name__)

Sink = Callable[[AccessUnit], None]
AUDIO_INBOX = 10


class FeedStats(msgspec.Struct):
    """Counters of a feed: of its source, of the encoder of each codec, sinks that raised, and changes of encoder."""

    source: PumpStats
    encoders: dict[Codec, EncoderStats] = {}
    sink_errors: int = 0
    fallbacks: dict[str, int] = {}
    """See `choose.Chains.fallbacks`."""


class _Watcher:
    """One attached sink; it sees nothing before its first key frame."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.waits_for_key = True
        self.has_failed = False


class _Line:
    """Everything of one codec: who watches, and the encoder while it runs."""

    def __init__(self) -> None:
        self.watchers: list[_Watcher] = []
        self.worker: EncoderWorker[av.VideoFrame] | EncoderWorker[av.AudioFrame] | None = None
        self.stop = threading.Event()
        self.left_at = 0.0

    def is_idle(self, now: float, linger_s: float) -> bool:
        return not self.watchers and now >= self.left_at + linger_s


class Feed:
    """Shares what one source gives with all who attach; see `attach`.

    Threads: one for the source, one per codec. All methods belong to the thread of the event loop.
    """

    def __init__(
        self,
        source: Source,
        settings: EncoderSettings,
        clock: Callable[[], float] = time.monotonic,
        chains: choose.Chains | None = None,
    ) -> None:
        choose.check_name(settings.encoder)
        self._chains = chains or choose.Chains()
        self.width, self.height, self.fps = source.width, source.height, source.fps
        self.has_audio = source.has_audio
        self._settings = settings
        self._clock = clock
        self._pump = Pump(source, self, clock)
        self._lines: dict[Codec, _Line] = {}
        self._video: tuple[EncoderWorker[av.VideoFrame], ...] = ()
        self._audio: tuple[EncoderWorker[av.AudioFrame], ...] = ()
        self._source_stop: threading.Event | None = None
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stats = FeedStats(self._pump.stats, fallbacks=self._chains.fallbacks)

    def attach(self, codec: Codec, sink: Sink) -> Callable[[], None]:
        """Send access units of `codec` to `sink`, beginning with a key frame, which is made at once.

        The sink is called on the event loop and must not block. The result detaches; it is idempotent.
        Raises: ValueError: Opus from a source without sound.
        """
        if not codec.is_video and not self.has_audio:
            raise ValueError("this source has no sound")
        line = self._lines.setdefault(codec, _Line())
        watcher = _Watcher(sink)
        line.watchers.append(watcher)
        self.request_keyframe(codec)
        self._changed.set()
        return partial(self._detach, line, watcher)

    def _detach(self, line: _Line, watcher: _Watcher) -> None:
        if watcher in line.watchers:
            line.watchers.remove(watcher)
            line.left_at = self._clock()
            self._changed.set()

    def request_keyframe(self, codec: Codec) -> None:
        """Somebody needs a key frame; requests of one 300 ms window are answered together."""
        line = self._lines.get(codec)
        if line is not None and line.worker is not None:
            line.worker.request_keyframe()

    def set_bitrate(self, codec: Codec, bitrate_bps: int) -> None:
        """Change the rate of a running encoder; see `EncoderSettings.max_bitrate_bps`."""
        line = self._lines.get(codec)
        if line is not None and line.worker is not None:
            line.worker.set_bitrate(bitrate_bps)

    def video(self, capture: VideoCapture) -> None:
        """Take a picture from the source's thread."""
        for worker in self._video:
            worker.offer(capture)

    def audio(self, capture: AudioCapture) -> None:
        """Take sound from the source's thread."""
        for worker in self._audio:
            worker.offer(capture)

    async def run(self) -> None:
        """Start and stop source and encoders as sinks come and go; until cancelled."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                wait_s = self._tend(group)
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _tend(self, group: asyncio.TaskGroup) -> float | None:
        """Bring what runs in line with who watches; seconds until it must be looked at again, None for never."""
        now = self._clock()
        waits = []
        for codec, line in self._lines.items():
            if line.worker is None:
                if line.watchers:
                    self._start_line(group, codec, line)
            elif line.is_idle(now, self._settings.linger_s):
                line.stop.set()
                line.worker.close()
            elif not line.watchers:
                waits.append(line.left_at + self._settings.linger_s - now)
        is_needed = any(line.worker is not None for line in self._lines.values())
        if is_needed and self._source_stop is None:
            self._source_stop = threading.Event()
            group.create_task(self._run_source(self._source_stop))
        elif not is_needed and self._source_stop is not None:
            self._source_stop.set()
        return min(waits, default=None)

    def _start_line(self, group: asyncio.TaskGroup, codec: Codec, line: _Line) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101  set by run, the only caller

        def wake() -> None:
            loop.call_soon_threadsafe(self._deliver, line, outlet)

        outlet = Outlet(wake)
        stats = self.stats.encoders.setdefault(codec, EncoderStats())
        line.stop = threading.Event()
        if codec.is_video:
            shape = Shape(self.width, self.height, self.fps)
            video = EncoderWorker(self._chains.chain(codec, shape, self._settings), outlet, 1, stats)
            line.worker = video
            self._video = (*self._video, video)
        else:
            audio = EncoderWorker(choose.AudioChain(self._settings), outlet, AUDIO_INBOX, stats)
            line.worker = audio
            self._audio = (*self._audio, audio)
        group.create_task(self._run_line(codec, line, line.worker))
        log.info("encoder started", extra={"codec": codec.value})

    async def _run_line(
        self,
        codec: Codec,
        line: _Line,
        worker: EncoderWorker[av.VideoFrame] | EncoderWorker[av.AudioFrame],
    ) -> None:
        try:
            await _in_thread(f"encode-{codec.value}", worker.run, line.stop, worker.close)
        finally:
            self._video = tuple(other for other in self._video if other is not worker)
            self._audio = tuple(other for other in self._audio if other is not worker)
            line.worker = None
            self._changed.set()
            log.info("encoder stopped", extra={"codec": codec.value})

    async def _run_source(self, stop: threading.Event) -> None:
        try:
            await _in_thread("source", self._pump.run, stop, lambda: None)
        finally:
            self._source_stop = None
            self._changed.set()

    def _deliver(self, line: _Line, outlet: Outlet) -> None:
        for unit in outlet.drain():
            for watcher in tuple(line.watchers):
                if watcher.waits_for_key and not unit.is_key:
                    continue
                watcher.waits_for_key = False
                self._give(watcher, unit)

    def _give(self, watcher: _Watcher, unit: AccessUnit) -> None:
        try:
            watcher.sink(unit)
        except Exception:  # one sink that fails must not take the picture from the others
            self.stats.sink_errors += 1
            if not watcher.has_failed:
                watcher.has_failed = True
                log.exception("sink failed")


async def _in_thread(
    name: str, work: Callable[[threading.Event], None], stop: threading.Event, wake: Callable[[], None]
) -> None:
    """Run `work` in a thread of its own until it returns; on cancellation `stop` it and wait for its end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def body() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001  carried over to the task that waits
            loop.call_soon_threadsafe(ended.set_exception, error)
        else:
            loop.call_soon_threadsafe(ended.set_result, None)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    is_cancelled = False
    while not ended.done():
        try:
            await asyncio.wait((ended,))
        except asyncio.CancelledError:  # however often: the thread calls into this loop, so it must not outlive us
            is_cancelled = True
            stop.set()
            wake()
    thread.join()
    ended.result()
    if is_cancelled:
        raise asyncio.CancelledError
