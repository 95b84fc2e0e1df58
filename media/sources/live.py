"""What cameras, screens and programs have in common: they give pictures when they want, vanish, and come back.

A thread of its own opens and reads the device, so that one that hangs holds up nobody. A device that is not there at
the start is assumed to be of a usual kind, and tried again by whoever plays it.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

import msgspec

from media.encoders.encoder import Codec
from media.sources.handover import Handover, HandoverStats
from media.sources.source import (
    EncodedPicture,
    EncodedSound,
    Facts,
    Item,
    Pace,
    Picture,
    SetupError,
    Sound,
    SourceError,
)
from media.sources.uri import without_credentials

_log = logging.getLogger(__name__)

PROBE_S = 4.0
SILENT_S = 5.0
OPEN_S = 12.0
"""How long a start may wait for it, how long it may give no picture, and how long it may take to give the first."""
GOODBYE_S = 0.3
"""How long the end of a play waits until the device is given back, and a camera told; one that is silent goes later."""
_POLL_S = 0.1


class _ChangedError(SourceError):
    """Who waits for encoded pictures gets none of this device any more."""


class Stream(Protocol):
    """An open device. All but `abort` is called in the thread that opened it."""

    facts: Facts

    def items(self, wanted: Facts, elapsed: Callable[[], float]) -> Iterator[Item]:
        """Read until it ends: what `wanted` says, at times on the clock `elapsed`; raw pictures in its size.

        Raises: SourceError: it died.
        """

    def close(self) -> None:
        """Free what it holds."""

    def abort(self) -> None:
        """Make `items` end soon where that can be done; called from any thread."""


Open = Callable[[], Stream]
"""Opens the device. Raises: SetupError; SourceError: it is not there now."""


class LiveSource:
    """Plays a device; see `Source`. `name` stands for it in the log.

    Its size never changes: raw pictures of another one are fitted in. Whether it passes codecs changes only between
    two plays of which the first was stopped from outside, so never while an encoder waits for raw pictures.
    Raises: SetupError.
    """

    can_request_keyframe = False
    is_muted = False

    def __init__(self, name: str, open_stream: Open, assumed: Facts, probe_s: float = PROBE_S) -> None:
        self._name = name
        self._open = open_stream
        self._reader: threading.Thread | None = None
        self._learned: Facts | None = None
        self.lost = HandoverStats()
        facts = self._probe(probe_s) or assumed
        self._facts = facts
        self.width, self.height, self.fps = facts.width, facts.height, facts.fps
        self.has_audio = facts.has_audio

    @property
    def passes(self) -> frozenset[Codec]:
        """Codecs that it gives as encoded items; see `Source`."""
        return self._facts.passes

    def request_keyframe(self) -> None:
        """None of them can be asked."""

    def _probe(self, limit_s: float) -> Facts | None:
        """What the device gives; None when it is not there in time."""
        found: list[Facts | Exception] = []
        streams: list[Stream] = []

        def look() -> None:
            try:
                streams.append(stream := self._open())
                try:
                    found.append(stream.facts)
                finally:
                    stream.close()
            except Exception as error:  # noqa: BLE001  told below, whatever a driver raises
                found.append(error)

        self._reader = threading.Thread(target=look, name="probe", daemon=True)
        self._reader.start()
        self._reader.join(limit_s)
        answer = found[0] if found else SourceError(f"it did not answer in {limit_s:g} s")
        if isinstance(answer, SetupError):
            raise answer
        if isinstance(answer, Exception):
            for stream in streams:
                stream.abort()
            _log.warning("source is not there yet", extra={"source": self._name, "reason": _words(answer)})
            return None
        self._tell(answer)
        return answer

    def _tell(self, facts: Facts) -> None:
        _log.info(
            "source found",
            extra={
                "source": self._name,
                "size": f"{facts.width}x{facts.height}",
                "fps": round(facts.fps, 2),
                "passes": ", ".join(sorted(codec.value for codec in facts.passes)),
                "note": facts.note,
            },
        )

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        """Play; see `Source`. The times of each kind never fall."""
        start = time.monotonic()

        def elapsed() -> float:
            return time.monotonic() - start

        if not self._is_free(pace, elapsed):
            return
        handover = Handover(self.lost)
        reading = _Reading(self, handover, elapsed)
        self._reader = threading.Thread(target=reading.run, name="read", daemon=True)
        self._reader.start()
        has_died = False
        try:
            yield from self._given(handover, pace, elapsed)
        except _ChangedError as change:
            _log.warning("source changed", extra={"source": self._name, "reason": str(change)})
            while pace(elapsed()):
                reading.stopped.wait(_POLL_S)
        except Exception:
            has_died = True
            raise
        finally:
            reading.stop()
            self._reader.join(GOODBYE_S)
            if not has_died and self._learned is not None:  # nobody plays it now, so this may be announced
                self._facts = msgspec.structs.replace(self._facts, passes=self._learned.passes)

    def _given(self, handover: Handover, pace: Pace, elapsed: Callable[[], float]) -> Generator[Item, None, None]:
        limit_s = OPEN_S
        seen = 0.0
        while True:
            try:
                item = handover.take(_POLL_S)
            except EOFError:
                raise SourceError("it ended") from None
            if not pace(elapsed()):  # it is never early; and a late picture must not hold up those after it
                return
            if item is not None:
                yield item
            if isinstance(item, (Picture, EncodedPicture)):
                seen, limit_s = elapsed(), SILENT_S
            elif elapsed() - seen > limit_s:
                raise SourceError(f"it gave no picture for {limit_s:g} s")

    def _is_free(self, pace: Pace, elapsed: Callable[[], float]) -> bool:
        """Wait for a reader that still hangs in a driver or a name look-up; False means stop."""
        while self._reader is not None and self._reader.is_alive():
            self._reader.join(_POLL_S)
            if not pace(elapsed()):
                return False
            if elapsed() > SILENT_S:
                raise SourceError("it hangs: the attempt before this one has not ended")
        return True

    def wanted(self, found: Facts) -> Facts:
        """What to give out of a device that is as `found`: as announced.

        Raises: _ChangedError: what was announced as encoded has become something else.
        """
        if self._learned != found:
            self._learned = found
            if found != self._facts:
                self._tell(found)
        if Codec.H264 in self.passes - found.passes:
            raise _ChangedError(f"now {found.note}; viewers get it when all of them have left and come again")
        return msgspec.structs.replace(self._facts, fps=found.fps)

    def open_stream(self) -> Stream:
        """Open the device; see `Open`."""
        return self._open()


class _Reading:
    """The thread of one play: opens, reads, and closes."""

    def __init__(self, source: LiveSource, handover: Handover, elapsed: Callable[[], float]) -> None:
        self._source = source
        self._handover = handover
        self._elapsed = elapsed
        self.stopped = threading.Event()
        self._stream: Stream | None = None

    def run(self) -> None:
        """Hand over what comes until it ends or `stop`."""
        try:
            self._stream = stream = self._source.open_stream()
            try:
                if self.stopped.is_set():  # before there was something to abort
                    return
                wanted = self._source.wanted(stream.facts)
                for item in stream.items(wanted, self._elapsed):
                    if self.stopped.is_set():
                        return
                    if not isinstance(item, (Sound, EncodedSound)) or wanted.has_audio:
                        self._handover.put(item)
            finally:
                stream.close()
        except SourceError as error:
            self._handover.end(error)
        except Exception as error:  # noqa: BLE001  raised again in the thread that plays
            self._handover.end(SourceError(f"{type(error).__name__}: {without_credentials(str(error))}"))
        else:
            self._handover.end(None)

    def stop(self) -> None:
        """End it, or leave it to end by itself."""
        self.stopped.set()
        if self._stream is not None:
            self._stream.abort()


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, SourceError) else type(error).__name__
