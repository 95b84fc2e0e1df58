"""A line: all who watch one codec in one size, and what makes its access units while somebody does."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from media.control.keyframes import KeyframeCoalescer
from media.encoders.encoder import AccessUnit, Codec
from media.encoders.outlet import Outlet

log = logging.getLogger(__name__)

Sink = Callable[[AccessUnit], None]


class Runner(Protocol):
    """What makes the access units of a line while it runs; called from the thread of the event loop."""

    def request_keyframe(self) -> None:
        """Make a key frame soon."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate."""

    def close(self) -> None:
        """Come to an end."""


class PassedStats(msgspec.Struct):
    """Counters of a line that passes what the source has encoded."""

    units: int = 0
    key_frames: int = 0
    passed_bytes: int = 0
    keyframe_requests: int = 0
    dropped_units: int = 0
    """Access units for which the event loop was too slow."""


class Passage:
    """The way through for encoded pictures or sound of the source; `offer` belongs to the source's thread."""

    def __init__(
        self, outlet: Outlet, stats: PassedStats, ask_source: Callable[[], None] | None, clock: Callable[[], float]
    ) -> None:
        self._outlet = outlet
        self._ask_source = ask_source
        self._clock = clock
        self._coalescer = KeyframeCoalescer()
        self._lock = threading.Lock()
        self.stats = stats

    def offer(self, unit: AccessUnit) -> None:
        """Pass a unit on, and a wish for a key frame back to a source that can make one."""
        self.stats.units += 1
        self.stats.key_frames += unit.is_key
        self.stats.passed_bytes += len(unit.data)
        lost = self._outlet.put(unit)
        self.stats.dropped_units += lost
        with self._lock:
            if lost and not unit.is_key:
                self._coalescer.request()
            must_ask = self._coalescer.take(self._clock())
        if must_ask and self._ask_source is not None:
            self._ask_source()

    def request_keyframe(self) -> None:
        """Ask the source at its next picture, at most once per window of `KeyframeCoalescer`."""
        with self._lock:
            self.stats.keyframe_requests += 1
            self._coalescer.request()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """The rate is the source's."""

    def close(self) -> None:
        """There is nothing to free."""


class Watcher:
    """One attached sink; it sees nothing before its first key frame."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.waits_for_key = True
        self.has_failed = False


class Line:
    """Who watches one codec in one size; of the runner it knows only whether it is there."""

    def __init__(self, codec: Codec, layer: int) -> None:
        self.codec = codec
        self.layer = layer
        self.name = f"{codec.value}/{layer}"
        self.watchers: list[Watcher] = []
        self.runner: Runner | None = None
        self.bitrate_bps: int | None = None
        """The rate that was asked for, if ever; a runner that starts aims at it."""
        self.stop = threading.Event()
        self.left_at = 0.0
        self._reached = -1

    def is_idle(self, now: float, linger_s: float) -> bool:
        """Nobody has watched for `linger_s`."""
        return not self.watchers and now >= self.left_at + linger_s

    def remove(self, watcher: Watcher, now: float) -> None:
        """Take a watcher out; idempotent."""
        if watcher in self.watchers:
            self.watchers.remove(watcher)
            self.left_at = now

    def deliver(self, outlet: Outlet) -> int:
        """Hand what waits to all watchers and give the number of sinks that raised.

        Time goes on only: of two runners the one that comes late with an older picture is not heard.
        """
        errors = 0
        for unit in outlet.drain():
            if unit.timestamp <= self._reached:
                continue
            self._reached = unit.timestamp
            for watcher in tuple(self.watchers):
                if watcher.waits_for_key and not unit.is_key:
                    continue
                watcher.waits_for_key = False
                errors += not _give(watcher, unit)
        return errors


def _give(watcher: Watcher, unit: AccessUnit) -> bool:
    try:
        watcher.sink(unit)
    except Exception:  # one sink that fails must not take the picture from the others
        if not watcher.has_failed:
            watcher.has_failed = True
            log.exception("sink failed")
        return False
    return True
