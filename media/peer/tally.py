"""What a viewer saw, over all its sessions: pictures, rates by the second, glass-to-glass latency. No I/O, no clock."""

import math

import msgspec

from media.rtp.receive import ReceiverStats
from media.sources.counter import MASK, Counter

LATENCY_LIMIT_MS = 60_000
"""A picture that seems older, or one from the future, comes from a machine with another time."""
SECONDS_LIMIT = 3600
ONE_MACHINE = "one machine"


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One decoded picture of `size` encoded bytes; `wall_ms` is the wall clock at the end of its decoding."""

    width: int
    height: int
    size: int
    wall_ms: int
    counter: Counter | None


class Second(msgspec.Struct, gc=False):
    """What came in the second that ends `at_s` after the first picture; the size is that of its last picture."""

    at_s: int
    width: int = 0
    height: int = 0
    frames: int = 0
    bitrate_bps: int = 0


class Latency(msgspec.Struct, frozen=True):
    """Time from the counter being drawn to the picture being decoded, in milliseconds over `pictures`.

    It is up to `error_ms` (a frame) too short: the counter is drawn when the picture is made, not when light fell on a
    sensor. `clocks` is `one machine` where both ends surely read the same clock, else `unknown`: then the difference of
    the clocks of both machines is in the figures.
    """

    pictures: int
    min_ms: int
    p50_ms: int
    p95_ms: int
    max_ms: int
    error_ms: int
    clocks: str


class Latencies:
    """Counts latencies by the millisecond; bounded by the range it admits."""

    def __init__(self) -> None:
        self.outside = 0
        self._counts: dict[int, int] = {}

    def add(self, counter: Counter, wall_ms: int) -> None:
        """Take a picture; what cannot be is counted in `outside`."""
        latency_ms = (wall_ms - counter.wall_ms) & MASK
        if latency_ms > LATENCY_LIMIT_MS:
            self.outside += 1
        else:
            self._counts[latency_ms] = self._counts.get(latency_ms, 0) + 1

    def summary(self, frame_s: float, clocks: str) -> Latency | None:
        """All so far, None without a picture that had a counter; `frame_s` is the time between two pictures."""
        total = sum(self._counts.values())
        if not total:
            return None
        ordered = sorted(self._counts)
        half, most = self._quantile(ordered, 0.5 * total), self._quantile(ordered, 0.95 * total)
        return Latency(total, ordered[0], half, most, ordered[-1], math.ceil(frame_s * 1000), clocks)

    def _quantile(self, ordered: list[int], rank: float) -> int:
        """The smallest latency that at least `rank` pictures do not exceed."""
        passed = 0
        for latency_ms in ordered:
            passed += self._counts[latency_ms]
            if passed >= rank:
                break
        return latency_ms


class Tally:
    """Pictures over all sessions of a viewer, until there are `wanted`."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.frames = 0
        self.first_frame_s = 0.0
        self.width = self.height = 0
        self.path = self.codec = ""
        self.is_one_machine = False
        self.counter_first: int | None = None
        self.counter_last: int | None = None
        self.latencies = Latencies()
        self.seconds: list[Second] = []
        self.stream: ReceiverStats | None = None
        self._began_at = 0.0

    @property
    def is_full(self) -> bool:
        """As many frames as were wanted have come."""
        return self.frames >= self.wanted

    def add(self, seen: Seen, since_offer_s: float, now: float) -> None:
        """Count one picture at the monotonic time `now`; `since_offer_s` is kept of the very first one."""
        self.frames += 1
        self.width, self.height = seen.width, seen.height
        if self.frames == 1:
            self.first_frame_s, self._began_at = since_offer_s, now
        self._count_second(seen, now)
        if seen.counter is not None:
            self.latencies.add(seen.counter, seen.wall_ms)
            self.counter_last = seen.counter.number
            if self.counter_first is None:
                self.counter_first = seen.counter.number

    def latency(self) -> Latency | None:
        """Glass to glass so far."""
        return self.latencies.summary(self._frame_s(), ONE_MACHINE if self.is_one_machine else "unknown")

    def _frame_s(self) -> float:
        """Time between pictures in the fastest second, which is the nearest to what the source makes."""
        return 1.0 / max((second.frames for second in self.seconds), default=1)

    def _count_second(self, seen: Seen, now: float) -> None:
        at_s = int(now - self._began_at) + 1
        if not self.seconds or self.seconds[-1].at_s != at_s:
            if len(self.seconds) == SECONDS_LIMIT:
                return
            self.seconds.append(Second(at_s))
        second = self.seconds[-1]
        second.width, second.height = seen.width, seen.height
        second.frames += 1
        second.bitrate_bps += 8 * seen.size
