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
from media.encoders.failure import OrderError, StallError
from media.encoders.inbox import Inbox
from media.encoders.outlet import Outlet

log = logging.getLogger(__name__)

REOPEN_S = 0.5
MOST_REOPEN_S = 10.0
"""Before the same encoder is opened again; the wait doubles while it gives nothing at all."""
IDLE_S = 0.2
OPEN_S = 10.0
"""How long a device may take to open."""
FIRST_UNIT_S = 2.0
"""How long it may take for the first unit, at which drivers set up what they left out at `open`."""

COSTLY_RATE_S = 3.0
"""Between two changes of the bitrate where each makes a key frame."""

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

    def gave_up(self, ended: threading.Event) -> None:
        """The driver keeps the thread that called `open` last; until `ended` it must not get another one."""


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
    sessions: int = 0
    """Encoders that are open now: one while it runs, none when nobody watches."""
    target_bitrate_bps: int = 0
    """What it was told to aim at last."""
    encoder: str = ""
    """Name of the encoder that was opened last, as FFmpeg has it."""
    bitrate_costs_key: bool = False
    """See `Encoder.bitrate_costs_key`; of the encoder that was opened last."""


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
        self._is_bitrate_new = False
        self._rate_opens_at = float("-inf")
        self._clock = clock
        self._turn: _Turn[FrameT] | None = None
        self._reopen_s = REOPEN_S
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
        """Aim at another rate from the next frame on; an encoder that takes over goes on with it.

        Where a change costs a key frame it may wait up to 3 s for the one before to be paid off.
        """
        with self._lock:
            self._bitrate_bps, self._is_bitrate_new = bitrate_bps, True
            self.stats.target_bitrate_bps = bitrate_bps

    def close(self) -> None:
        """Wake the thread, so that it sees that it shall stop."""
        self._inbox.close()

    def run(self, stop: threading.Event) -> None:
        """Encode until `stop`; a broken encoder is replaced by the next one at once, by the same after a wait."""
        while not stop.is_set():
            turn = _Turn(self, self._chain, self._inbox)
            with self._lock:
                self._turn = turn
            stall_s = self._chain.stall_s
            error = turn.run(stop) if stall_s is None else self._watched(turn, stop, stall_s)
            if error is not None:
                self._failed(error, stop)

    def _failed(self, error: Exception, stop: threading.Event) -> None:
        self.stats.failures += 1
        log.warning("encoder failed", extra={"reason": f"{type(error).__name__}: {error}"})
        if not self._chain.failed(error):
            stop.wait(self._reopen_s)
            self._reopen_s = min(2 * self._reopen_s, MOST_REOPEN_S)

    def _watched(self, turn: "_Turn[FrameT]", stop: threading.Event, stall_s: float) -> Exception | None:
        """Run a turn in a thread of its own, which is given up when a driver never comes back."""
        thread = threading.Thread(target=turn.run, args=(stop,), name="encoder-device", daemon=True)
        thread.start()
        while not turn.ended.wait(stall_s / 5):
            stalled_s = turn.stalled_for(time.monotonic())
            if stalled_s is not None:
                with self._lock:
                    turn.is_given_up = True
                self._chain.gave_up(turn.ended)
                return None if stop.is_set() else StallError(f"the driver did not come back for {stalled_s:.1f} s")
        thread.join()
        return turn.error

    def opened(self, turn: "_Turn[FrameT]", encoder: Encoder[FrameT]) -> bool:
        """Begin with another encoder, called in the thread of its turn; False when it came back too late for that."""
        with self._lock:
            if turn.is_given_up:
                return False
            self.stats.encoder, self.stats.bitrate_costs_key = encoder.name, encoder.bitrate_costs_key
            self.stats.sessions += 1
            self._coalescer.restarted()
            self._is_bitrate_new = self._bitrate_bps is not None
            self._rate_opens_at = float("-inf")
        log.info("encoder opened", extra={"encoder": encoder.name})
        return True

    def closed(self) -> None:
        """The encoder of a turn is closed; called in its thread."""
        with self._lock:
            self.stats.sessions -= 1

    def wishes(self) -> tuple[bool, int | None]:
        """Whether the next picture must be a key frame, and a new bitrate."""
        now = self._clock()
        with self._lock:
            is_key = self._coalescer.take(now)
            if not self._is_bitrate_new or now < self._rate_opens_at:
                return is_key, None
            self._is_bitrate_new = False
            self._rate_opens_at = now + (COSTLY_RATE_S if self.stats.bitrate_costs_key else 0.0)
            return is_key, self._bitrate_bps

    def emit(self, turn: "_Turn[FrameT]", unit: AccessUnit) -> None:
        """Pass a unit on, unless another encoder has taken over from the one of this turn."""
        with self._lock:
            if self._turn is not turn:
                return
            self._reopen_s = REOPEN_S
            self.stats.key_frames += unit.is_key
            self.stats.encoded_bytes += len(unit.data)
            lost = self._outlet.put(unit)
            self.stats.dropped_units += lost
            if lost and not unit.is_key:
                self._coalescer.request()


class _Turn(Generic[FrameT]):
    """The time of one encoder in a worker, from its opening to its end; it runs in one thread."""

    def __init__(self, worker: EncoderWorker[FrameT], chain: Chain[FrameT], inbox: Inbox[Capture[FrameT]]) -> None:
        self._worker: EncoderWorker[FrameT] = worker
        self._chain: Chain[FrameT] = chain
        self._inbox: Inbox[Capture[FrameT]] = inbox
        self._stall_s = chain.stall_s
        self._busy: tuple[float, float] | None = None  # since when it is in the codec, and how long it may be
        self._silent_since: float | None = None
        self._last = -1
        self.ended = threading.Event()
        self.is_given_up = False
        self.error: Exception | None = None

    def run(self, stop: threading.Event) -> Exception | None:
        """Open and encode until `stop`; the error that ended it."""
        try:
            self._open_and_encode(stop)
        except Exception as error:  # noqa: BLE001  drivers raise anything; the feed must outlive them
            self.error = error
        self.ended.set()
        return self.error

    def stalled_for(self, now: float) -> float | None:
        """How long the codec has kept its thread, when that is too long."""
        busy = self._busy
        return now - busy[0] if busy is not None and now - busy[0] > busy[1] else None

    def _open_and_encode(self, stop: threading.Event) -> None:
        self._busy = (time.monotonic(), OPEN_S)
        encoder = self._chain.open()
        self._busy = None
        if not self._worker.opened(self, encoder):
            encoder.close()
            return
        try:
            while not stop.is_set() and not self.is_given_up:
                capture = self._inbox.take(IDLE_S)
                if capture is not None:
                    self._encode(encoder, capture)
        finally:
            encoder.close()
            self._worker.closed()

    def _encode(self, encoder: Encoder[FrameT], capture: Capture[FrameT]) -> None:
        is_key, bitrate_bps = self._worker.wishes()
        limit_s = max(self._stall_s or 0.0, 0.0 if self._last >= 0 else FIRST_UNIT_S)
        before = time.monotonic()
        self._busy = (before, limit_s)
        if bitrate_bps is not None:
            encoder.set_bitrate(bitrate_bps)
        units = encoder.encode(capture, is_key)
        self._busy = None
        stats = self._worker.stats
        stats.encode_seconds += time.monotonic() - before
        stats.frames += 1
        for unit in units:
            if unit.timestamp <= self._last:
                raise OrderError(f"{encoder.name} gave the picture of {unit.timestamp} after that of {self._last}")
            self._last = unit.timestamp
            self._worker.emit(self, unit)
        self._judge_silence(encoder, bool(units), before, limit_s)

    def _judge_silence(self, encoder: Encoder[FrameT], has_given: bool, now: float, limit_s: float) -> None:
        if has_given or self._stall_s is None:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > limit_s:
            raise StallError(f"{encoder.name} gave no picture for {now - self._silent_since:.1f} s")
