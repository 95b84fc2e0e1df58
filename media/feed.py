"""A feed: one source, one line per codec and layer, any number of sinks. Runs only while somebody watches."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import av
import msgspec

from media.control.ladder import Layer, rungs
from media.encoders import choose
from media.encoders.decode import Backlog, DecoderStats, DecodeWorker
from media.encoders.encoder import (
    AccessUnit,
    AudioCapture,
    Codec,
    EncoderSettings,
    Shape,
    VideoCapture,
)
from media.encoders.line import Line, Passage, PassedStats, Sink, Watcher
from media.encoders.outlet import Outlet
from media.encoders.scale import LayerChain, Scaler
from media.encoders.thread import in_thread
from media.encoders.worker import Chain, EncoderStats, EncoderWorker
from media.sources.pump import Pump, PumpStats
from media.sources.slate import slate
from media.sources.source import Source

__all__ = ["AccessUnit", "Codec", "EncoderSettings", "Feed", "FeedStats", "Sink"]

log = logging.getLogger(__name__)

AUDIO_INBOX = 10
MAX_LAYERS = 3
SLATE_S = 0.1
"""Seconds between two pictures that stand for those of a dead source."""
WATCH_S = 0.25
"""How often the source is looked at."""


class FeedStats(msgspec.Struct):
    """Counters of a feed: of its source, of each encoder and each way through by the name of its line, as "H264/0"; of
    the decoder that serves other lines of an encoded source; sinks that raised, and changes of encoder.
    """

    source: PumpStats
    encoders: dict[str, EncoderStats] = {}
    passed: dict[str, PassedStats] = {}
    decoder: DecoderStats = msgspec.field(default_factory=DecoderStats)
    sink_errors: int = 0
    fallbacks: dict[str, int] = {}
    """See `choose.Chains.fallbacks`."""


class Feed:
    """Shares what one source gives with all who attach; see `attach`.

    Threads: one for the source, one per encoder, and one for a decoder while a line is watched that a source of encoded
    pictures does not give. All methods but the three that take from the source belong to the thread of the event loop.
    """

    def __init__(
        self,
        source: Source,
        settings: EncoderSettings,
        clock: Callable[[], float] = time.monotonic,
        chains: choose.Chains | None = None,
        max_layers: int = MAX_LAYERS,
    ) -> None:
        choose.check_name(settings.encoder)
        self._chains = chains or choose.Chains()
        self.width, self.height, self.fps = source.width, source.height, source.fps
        self.has_audio = source.has_audio
        self.layers: tuple[Layer, ...] = rungs(self._shape, settings.bitrate_bps)[: max(max_layers, 1)]
        self._source = source
        self._settings = settings
        self._clock = clock
        self._pump = Pump(source, self, clock)
        self._lines: dict[tuple[Codec, int], Line] = {}
        self._scalers = {layer.number: Scaler(layer.width, layer.height) for layer in self.layers[1:]}
        self._video: tuple[EncoderWorker[av.VideoFrame], ...] = ()
        self._audio: tuple[EncoderWorker[av.AudioFrame], ...] = ()
        self._passages: dict[Codec, Passage] = {}
        self._decoder: DecodeWorker | None = None
        self._decoder_stop = threading.Event()
        self._backlog = Backlog()
        self._backlog_lock = threading.Lock()
        self._source_stop: threading.Event | None = None
        self._slate: av.VideoFrame | None = None
        self._slate_at = 0.0
        self._slate_worker: EncoderWorker[av.VideoFrame] | None = None
        self._slate_line: Line | None = None
        self._slate_stop = threading.Event()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.last_picture: VideoCapture | None = None
        """The newest raw picture, of a source or of the decoder; as old as its time says."""
        self.stats = FeedStats(self._pump.stats, fallbacks=self._chains.fallbacks)

    @property
    def _shape(self) -> Shape:
        return Shape(self.width, self.height, self.fps)

    def attach(self, codec: Codec, sink: Sink, layer: int = 0) -> Callable[[], None]:
        """Send access units of `codec` in the size `layer` to `sink`.

        It begins with a key frame, at once where that can be made. The sink is called on the event loop and must not
        block. The result detaches; it is idempotent.
        Raises: ValueError: Opus from a source without sound, or a layer that is not in `layers`.
        """
        if not codec.is_video and not self.has_audio:
            raise ValueError("this source has no sound")
        if not 0 <= layer < (len(self.layers) if codec.is_video else 1):
            raise ValueError(f"there is no layer {layer} of {codec.value}")
        line = self._line(codec, layer)
        watcher = Watcher(sink)
        line.watchers.append(watcher)
        self.request_keyframe(codec, layer)
        self._changed.set()
        return partial(self._detach, line, watcher)

    def _detach(self, line: Line, watcher: Watcher) -> None:
        line.remove(watcher, self._clock())
        self._changed.set()

    def can_request_keyframe(self, codec: Codec, layer: int = 0) -> bool:
        """Whether a key frame comes when it is asked for; else only when the source has one by itself."""
        return not self._passes(codec, layer) or self._source.can_request_keyframe

    @property
    def fixed(self) -> frozenset[Codec]:
        """Codecs whose full size passes at the rate of the source."""
        return self._source.passes

    def costs_key(self, codec: Codec, layer: int = 0) -> bool:
        """Whether `set_bitrate` costs a key frame with the encoder that runs."""
        stats = self.stats.encoders.get(f"{codec.value}/{layer}")
        return stats is not None and stats.bitrate_costs_key

    @property
    def _passed(self) -> Codec | None:
        """The video codec that the source gives."""
        return next((codec for codec in self._source.passes if codec.is_video), None)

    def _passes(self, codec: Codec, layer: int) -> bool:
        return layer == 0 and codec in self._source.passes

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        """Somebody needs a key frame; requests of one 300 ms window are answered together."""
        line = self._lines.get((codec, layer))
        if line is not None and line.runner is not None:
            line.runner.request_keyframe()
        if self._slate_worker is not None and self._passes(codec, layer):
            self._slate_worker.request_keyframe()

    def set_bitrate(self, codec: Codec, bitrate_bps: int, layer: int = 0) -> None:
        """Change the rate of an encoder, now and when it starts; see `EncoderSettings.max_bitrate_bps`."""
        line = self._line(codec, layer)
        line.bitrate_bps = bitrate_bps
        if line.runner is not None:
            line.runner.set_bitrate(bitrate_bps)

    def _line(self, codec: Codec, layer: int) -> Line:
        line = self._lines.get((codec, layer))
        if line is None:
            line = self._lines[codec, layer] = Line(codec, layer)
        return line

    def video(self, capture: VideoCapture) -> None:
        """Take a raw picture from the thread of the source or of the decoder."""
        self.last_picture = capture
        for worker in self._video:
            worker.offer(capture)

    def audio(self, capture: AudioCapture) -> None:
        """Take raw sound from the source's thread."""
        for worker in self._audio:
            worker.offer(capture)

    def encoded(self, codec: Codec, unit: AccessUnit) -> None:
        """Take an encoded picture or sound from the source's thread."""
        passage = self._passages.get(codec)
        if passage is not None:
            passage.offer(unit)
        if codec.is_video:
            with self._backlog_lock:
                self._backlog.keep(unit)
                if self._decoder is not None:
                    self._decoder.offer(unit)

    def slate(self, capture: VideoCapture) -> None:
        """Take a picture that stands for those of a dead source."""
        self.video(capture)
        if self._slate_worker is not None:
            self._slate_worker.offer(capture)

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
        waits = self._tend_lines(group, now)
        self._tend_decoder(group)
        self._source.is_muted = not self._audio
        is_needed = any(line.runner is not None or line.watchers for line in self._lines.values())
        if is_needed and self._source_stop is None:
            self._source_stop = threading.Event()
            self._backlog.clear()
            group.create_task(self._run_source(self._source_stop))
        elif not is_needed and self._source_stop is not None:
            self._source_stop.set()
        self._tend_slate(group)
        if self._source_stop is not None:
            waits.append(self._show_slate(now))
        return min(waits, default=None)

    def _tend_lines(self, group: asyncio.TaskGroup, now: float) -> list[float]:
        """Start and stop lines; seconds until each of those that nobody watches must be stopped."""
        waits = []
        for line in self._lines.values():
            if line.runner is not None and (line.is_idle(now, self._settings.linger_s) or not self._fits(line)):
                self._stop_line(line)
            elif line.runner is not None and not line.watchers:
                waits.append(line.left_at + self._settings.linger_s - now)
            if line.runner is None and line.watchers and line is not self._slate_line:
                self._start_line(group, line)
        return waits

    def _fits(self, line: Line) -> bool:
        """Whether what runs is made for what the source gives now; see `Source.passes`."""
        return isinstance(line.runner, Passage) is self._passes(line.codec, line.layer)

    def _tend_slate(self, group: asyncio.TaskGroup) -> None:
        """Where the pictures of a dead source would pass, an encoder of ours stands in, until they come."""
        passed = self._passed if self._pump.is_dead else None
        line = None if passed is None else self._lines.get((passed, 0))
        is_wanted = line is not None and isinstance(line.runner, Passage)
        if line is not None and is_wanted and self._slate_worker is None:
            self._start_slate(group, line)
        elif self._slate_worker is not None and not is_wanted:
            self._slate_stop.set()
            self._slate_worker.close()

    def _show_slate(self, now: float) -> float:
        """Give a picture in place of one of a dead source; seconds until it must be looked at again."""
        if not self._pump.is_dead:
            return WATCH_S
        if now >= self._slate_at:
            self._slate_at = now + SLATE_S
            self._slate = self._slate or slate(self.width, self.height)
            self._pump.slate(self._slate)
        return SLATE_S

    def _tend_decoder(self, group: asyncio.TaskGroup) -> None:
        passed = self._passed if self._video else None
        if passed is not None and self._decoder is None:
            with self._backlog_lock:
                units = () if self._pump.is_dead else self._backlog.units()
                self._decoder = DecodeWorker(passed, self._shape, self.video, self.stats.decoder, units)
            self._decoder_stop = threading.Event()
            self.request_keyframe(passed)
            group.create_task(self._run_decoder(self._decoder, self._decoder_stop))
        elif passed is None and self._decoder is not None:
            self._decoder_stop.set()
            self._decoder.close()

    def _start_slate(self, group: asyncio.TaskGroup, line: Line) -> None:
        stats = self.stats.encoders.setdefault(line.name, EncoderStats())
        outlet = self._outlet(line)
        self._slate_worker = EncoderWorker(self._chain(line.codec, line.layer), outlet, 1, stats)
        self._slate_line = line
        self._slate_stop = threading.Event()
        group.create_task(self._run_slate(self._slate_worker, self._slate_stop))

    def _outlet(self, line: Line) -> Outlet:
        loop = self._loop
        assert loop is not None  # noqa: S101  set by run, the root of all callers

        def wake() -> None:
            loop.call_soon_threadsafe(self._deliver, line, outlet)

        outlet = Outlet(wake)
        return outlet

    def _start_line(self, group: asyncio.TaskGroup, line: Line) -> None:
        outlet = self._outlet(line)
        line.stop = threading.Event()
        for watcher in line.watchers:
            watcher.waits_for_key = True  # what another kind of runner gave is nothing to go on from
        if self._passes(line.codec, line.layer):
            self._start_passage(line, outlet)
            return
        stats = self.stats.encoders.setdefault(line.name, EncoderStats())
        worker: EncoderWorker[av.VideoFrame] | EncoderWorker[av.AudioFrame]
        if line.codec.is_video:
            worker = EncoderWorker(self._chain(line.codec, line.layer), outlet, 1, stats)
            self._video = (*self._video, worker)
        else:
            worker = EncoderWorker(choose.AudioChain(self._settings), outlet, AUDIO_INBOX, stats)
            self._audio = (*self._audio, worker)
        stats.target_bitrate_bps = (
            self.layers[line.layer].bitrate_bps if line.codec.is_video else self._settings.audio_bitrate_bps
        )
        if line.bitrate_bps is not None:
            worker.set_bitrate(line.bitrate_bps)
        line.runner = worker
        group.create_task(self._run_line(line, worker))
        log.info("encoder started", extra={"codec": line.codec.value, "layer": line.layer})

    def _chain(self, codec: Codec, layer: int) -> Chain[av.VideoFrame]:
        if layer == 0:
            return self._chains.chain(codec, self._shape, self._settings)
        rung = self.layers[layer]
        most = self._settings.max_bitrate_bps
        settings = msgspec.structs.replace(
            self._settings,
            bitrate_bps=rung.bitrate_bps,
            max_bitrate_bps=None if most is None else most * rung.bitrate_bps // self._settings.bitrate_bps,
        )
        chain = self._chains.chain(codec, Shape(rung.width, rung.height, self.fps), settings)
        return LayerChain(chain, self._scalers[layer], layer)

    def _start_passage(self, line: Line, outlet: Outlet) -> None:
        stats = self.stats.passed.setdefault(line.name, PassedStats())
        ask = self._source.request_keyframe if self._source.can_request_keyframe else None
        passage = Passage(outlet, stats, ask, self._clock)
        line.runner = passage
        self._passages = {**self._passages, line.codec: passage}

    def _stop_line(self, line: Line) -> None:
        runner = line.runner
        if runner is None:
            return
        line.stop.set()
        runner.close()
        if isinstance(runner, Passage):  # it has no thread whose end would say so
            line.runner = None
        self._passages = {codec: passage for codec, passage in self._passages.items() if passage is not runner}
        self._video = tuple(worker for worker in self._video if worker is not runner)
        self._audio = tuple(worker for worker in self._audio if worker is not runner)

    async def _run_line(self, line: Line, worker: EncoderWorker[av.VideoFrame] | EncoderWorker[av.AudioFrame]) -> None:
        name = f"encode-{line.codec.value}" + (f"-{line.layer}" if line.layer else "")
        try:
            await in_thread(name, worker.run, line.stop, worker.close)
        finally:
            line.runner = None
            self._changed.set()
            log.info("encoder stopped", extra={"codec": line.codec.value, "layer": line.layer})

    async def _run_decoder(self, decoder: DecodeWorker, stop: threading.Event) -> None:
        try:
            await in_thread("decode", decoder.run, stop, decoder.close)
        finally:
            self._decoder = None
            self._changed.set()

    async def _run_slate(self, worker: EncoderWorker[av.VideoFrame], stop: threading.Event) -> None:
        try:
            await in_thread("encode-slate", worker.run, stop, worker.close)
        finally:
            self._slate_worker = self._slate_line = None
            self._changed.set()

    async def _run_source(self, stop: threading.Event) -> None:
        try:
            await in_thread("source", self._pump.run, stop, lambda: None)
        finally:
            self._source_stop = None
            self._changed.set()

    def _deliver(self, line: Line, outlet: Outlet) -> None:
        self.stats.sink_errors += line.deliver(outlet)
