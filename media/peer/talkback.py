"""Talk-back: the Opus sound of viewers, decoded, mixed or one at a time, into one speaker. A thread while one talks."""

import contextlib
import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import av
import msgspec

from media.control import talk
from media.control.talk import Floor, TalkBuffer
from media.encoders import opus
from media.encoders.thread import in_thread
from media.peer.speaker import Speaker, SpeakerStats

_log = logging.getLogger(__name__)

TALKERS_LIMIT = 16
_PACKETS = 16
_QUIET_DBOV = 50
"""Sound below -50 dBov is silence to the floor."""
_BEHIND_S = 0.2


class Mode(enum.Enum):
    """Who is heard when several talk."""

    MIX = "mix"
    FLOOR = "floor"


class TalkbackStats(msgspec.Struct):
    """Counters; `refused` counts viewers beyond the bound, `behind` how often the thread lost its pace."""

    speaker: SpeakerStats
    packets: int = 0
    dropped_packets: int = 0
    undecodable: int = 0
    late_bytes: int = 0
    refused: int = 0
    behind: int = 0


class Talker:
    """One viewer that may talk; `put` from the event loop, the rest belongs to the thread."""

    def __init__(self, client_id: str, wake: Callable[[], None], stats: TalkbackStats) -> None:
        self.client_id = client_id
        self._wake = wake
        self._stats = stats
        self._packets: deque[bytes] = deque()
        self._buffer = TalkBuffer()
        self._decoder = _Decoder()

    def put(self, packets: Sequence[bytes]) -> None:
        """Take Opus packets in order; the oldest that the thread has not come to is dropped."""
        for packet in packets:
            self._stats.packets += 1
            self._packets.append(packet)
            if len(self._packets) > _PACKETS:
                self._packets.popleft()
                self._stats.dropped_packets += 1
        self._wake()

    @property
    def is_waiting(self) -> bool:
        """There is sound that was not played yet."""
        return not self._buffer.is_empty

    def take(self, now: float) -> bytes | None:
        """The 20 ms of this moment, None when there is nothing to hear."""
        while self._packets:
            try:
                self._buffer.put(self._decoder.decode(self._packets.popleft()), now)
            except (av.FFmpegError, ValueError):
                self._stats.undecodable += 1
        self._stats.late_bytes += self._buffer.dropped_bytes
        self._buffer.dropped_bytes = 0
        return self._buffer.take(now)


class _Decoder:
    def __init__(self) -> None:
        context = av.CodecContext.create("libopus", "r")
        if not isinstance(context, av.AudioCodecContext):
            raise TypeError("libopus is not an audio decoder")
        context.sample_rate = talk.RATE_HZ
        context.layout = "mono"
        self._context = context
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=talk.RATE_HZ)

    def decode(self, packet: bytes) -> bytes:
        if not packet:
            raise ValueError("an empty packet, which would end the decoder")
        sound = bytearray()
        for frame in self._context.decode(av.Packet(packet)):
            for even in self._resampler.resample(frame):
                sound += bytes(even.planes[0])[: even.samples * talk.SAMPLE_BYTES]
        return bytes(sound)


class Talkback:
    """Brings all talkers of a master together; `run` it as long as the master runs."""

    def __init__(self, speaker: Speaker, mode: Mode, clock: Callable[[], float] = time.monotonic) -> None:
        self._speaker = speaker
        self._floor = Floor() if mode is Mode.FLOOR else None
        self._clock = clock
        self._talkers: tuple[Talker, ...] = ()
        self._awake = threading.Event()
        self._sounded_at = float("-inf")
        self.stats = TalkbackStats(speaker.stats)

    @property
    def has_room(self) -> bool:
        """Another viewer may talk."""
        return len(self._talkers) < TALKERS_LIMIT

    def join(self, client_id: str) -> Talker | None:
        """Let a viewer talk; None when there are 16 already."""
        if not self.has_room:
            self.stats.refused += 1
            return None
        talker = Talker(client_id, self._awake.set, self.stats)
        self._talkers = (*self._talkers, talker)
        return talker

    def leave(self, talker: Talker) -> None:
        """A viewer is gone; idempotent."""
        self._talkers = tuple(other for other in self._talkers if other is not talker)

    async def run(self) -> None:
        """Play what comes until cancelled; the speaker is closed then."""
        await in_thread("talk-back", self._play, threading.Event(), self._awake.set)

    def _play(self, stop: threading.Event) -> None:
        try:
            self._play_until(stop)
        finally:
            self._speaker.close()  # which may wait for a program to end

    def _play_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._awake.wait()
            self._awake.clear()
            next_at = self._clock()
            while not stop.wait(max(next_at - self._clock(), 0.0)):
                if not self.tick(self._clock()):
                    break
                next_at += talk.TICK_S
                if self._clock() - next_at > _BEHIND_S:
                    self.stats.behind += 1
                    next_at = self._clock()

    def tick(self, now: float) -> bool:
        """Play 20 ms; False when nobody has talked for a while and the speaker was given free."""
        heard = [(talker, piece) for talker in self._talkers if (piece := talker.take(now)) is not None]
        if heard:
            self._sounded_at = now
        elif now - self._sounded_at >= self._speaker.linger_s and not any(t.is_waiting for t in self._talkers):
            with contextlib.suppress(OSError):
                self._speaker.rest()
            return False
        self._speaker.write(talk.mix(self._chosen(heard, now)))
        return True

    def _chosen(self, heard: list[tuple[Talker, bytes]], now: float) -> list[bytes]:
        if self._floor is None:
            return [piece for _, piece in heard]
        loud = [talker for talker, piece in heard if opus.level(memoryview(piece).cast("h")) < _QUIET_DBOV]
        before, holder = self._floor.holder, self._floor.take(loud, now)
        if holder is not before and isinstance(holder, Talker):
            _log.info("viewer has the floor", extra={"client_id": holder.client_id})
        return [piece for talker, piece in heard if talker is holder]
