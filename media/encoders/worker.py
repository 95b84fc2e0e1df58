"""The thread of one encoder: captures in, access units out, key frames on request, a new encoder when one breaks."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import av
import msgspec

from media.control.keyframes import KeyframeCoalescer
from media.encoders.encoder import AccessUnit, Capture, Encoder
from media.encoders.inbox import Inbox
from media.encoders.outlet import Outlet

log = logging.getLogger(__name__)

REOPEN_S = 0.5
IDLE_S = 0.2

FrameT = TypeVar("FrameT", av.VideoFrame, av.AudioFrame)


class Chain(Protocol[FrameT]):
    """Where encoders come from, one after the other; see `choose.EncoderChain`."""

    @property
    def stall_s(self) -> float | None:
        """How long the encoder of the next `open` may give nothing; None for as long as it likes."""

    def open(self) -> Encoder[FrameT]:
        """Open the encoder whose turn it is; raises whatever a driver raises."""

    def failed(self, error: Exception) -> bool:
        """Take note of a failure; whether `open` gives another encoder now."""


class EncoderStats(msgspec.Struct):
    """Counters of one encoder; `encode_seconds` is wall time spent inside the codec."""

    frames: int = 0
    key_frames: int = 0
    encoded_bytes: int = 0
    keyframe_requests: int = 0
    failures: int = 0
    dropped_frames: int = 0
    """Captures for which the encoder was too slow."""
    dropped_units: int = 0
    """Access units for which the event loop was too slow."""
    encode_seconds: float = 0.0


class EncoderWorker(Generic[FrameT]):
    """Runs one encoder. `offer`, `request_keyframe` and `set_bitrate` may be called from any thread."""

    def __init__(
        self,
        chain: Chain[FrameT],
        outlet: Outlet,
        inbox_bound: int,
        stats: EncoderStats,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain: Chain[FrameT] = chain
        self._outlet = outlet
        self._inbox: Inbox[Capture[FrameT]] = Inbox(inbox_bound)
        self._coalescer = KeyframeCoalescer()
        self._lock = threading.Lock()
        self._bitrate_bps: int | None = None
        self._clock = clock
        self.stats = stats

    def offer(self, capture: Capture[FrameT]) -> None:
        """Hand over a capture; one that still waits may be dropped for it."""
        self.stats.dropped_frames += self._inbox.put(capture)

    def request_keyframe(self) -> None:
        """Make a key frame soon; see `KeyframeCoalescer`."""
        with self._lock:
            self.stats.keyframe_requests += 1
            self._coalescer.request()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at another rate from the next frame on."""
        with self._lock:
            self._bitrate_bps = bitrate_bps

    def close(self) -> None:
        """Wake the thread, so that it sees that it shall stop."""
        self._inbox.close()

    def run(self, stop: threading.Event) -> None:
        """Encode until `stop`; a broken encoder is replaced by the next one at once, by the same after 0.5 s."""
        while not stop.is_set():
            try:
                encoder = self._chain.open()
            except Exception as error:  # noqa: BLE001  drivers raise anything; the feed must outlive them
                self._failed("encoder did not open", error, stop)
                continue
            try:
                self._encode(encoder, stop)
            except Exception as error:  # noqa: BLE001  as above
                self._failed("encoder broke", error, stop)
            finally:
                encoder.close()

    def _failed(self, event: str, error: Exception, stop: threading.Event) -> None:
        self.stats.failures += 1
        log.warning(event, extra={"reason": f"{type(error).__name__}: {error}"})
        if not self._chain.failed(error):
            stop.wait(REOPEN_S)

    def _encode(self, encoder: Encoder[FrameT], stop: threading.Event) -> None:
        with self._lock:
            self._coalescer.restarted()
        while not stop.is_set():
            capture = self._inbox.take(IDLE_S)
            if capture is None:
                continue
            with self._lock:
                is_key = self._coalescer.take(self._clock())
                bitrate_bps, self._bitrate_bps = self._bitrate_bps, None
            if bitrate_bps is not None:
                encoder.set_bitrate(bitrate_bps)
            before = time.perf_counter()
            units = encoder.encode(capture, is_key)
            self.stats.encode_seconds += time.perf_counter() - before
            self.stats.frames += 1
            for unit in units:
                self._emit(unit)

    def _emit(self, unit: AccessUnit) -> None:
        self.stats.key_frames += unit.is_key
        self.stats.encoded_bytes += len(unit.data)
        lost = self._outlet.put(unit)
        self.stats.dropped_units += lost
        if lost and not unit.is_key:
            with self._lock:
                self._coalescer.request()
