"""The pictures since the last key frame, and how they are played to who comes later. No I/O, no clock.

Where a key frame can be had by asking, only a very young one is worth playing; elsewhere it is the one way to a picture
before the source has its next key frame by itself. Times are monotonic seconds.
"""

from collections import deque

import msgspec

from media.rtp.packetize import PacketizedUnit

SPREAD_S = 0.15
"""All that was kept goes out within this time, so that it does not come as one burst."""
_LONGEST_STEP_S = 0.005


class Span(msgspec.Struct, frozen=True):
    """How old a key frame may be and how many payload bytes may have come since, the key frame included."""

    age_s: float
    size: int


YOUNG = Span(0.3, 256 * 1024)
"""The encoder would not make another key frame yet."""
LONG = Span(2.0, 500_000)
"""For sources that make none when asked."""


class GopCache:
    """Keeps the last group of pictures while it is within its span, else nothing; `span` may be set at any time."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._units: list[PacketizedUnit] = []
        self._size = 0

    def keep(self, unit: PacketizedUnit) -> None:
        """Take the next unit of the stream."""
        if unit.is_key:
            self._units, self._size = [unit], unit.size
        elif self._units:
            self._units.append(unit)
            self._size += unit.size
            if self._size > self.span.size or unit.captured_at - self._units[0].captured_at > self.span.age_s:
                self._units, self._size = [], 0

    def clear(self) -> None:
        """The stream was interrupted."""
        self._units, self._size = [], 0

    def since_key(self, now: float) -> tuple[PacketizedUnit, ...]:
        """The key frame and all since; empty when it is too old."""
        if not self._units or now - self._units[0].captured_at > self.span.age_s:
            return ()
        return tuple(self._units)


class Replay:
    """Plays kept units fast, then those that came meanwhile, until it has caught up with the stream.

    Each unit is stamped as if it were taken when it is sent: on the viewer's side the pictures run fast and then go on
    with the stream, without a jump that would look like a late packet.
    """

    def __init__(self, units: tuple[PacketizedUnit, ...], clock_hz: int, now: float) -> None:
        self._waiting = deque(units)
        self._clock_hz = clock_hz
        self._newest = units[-1]
        self._step_s = min(SPREAD_S / len(units), _LONGEST_STEP_S)
        self.next_at = now

    @property
    def is_done(self) -> bool:
        """The next unit of the stream may go out as it comes."""
        return not self._waiting

    def push(self, unit: PacketizedUnit) -> None:
        """Take what the stream has next; a key frame makes all before it superfluous."""
        if unit.is_key:
            self._waiting.clear()
        self._waiting.append(unit)

    def due(self, now: float, ntp: int) -> list[PacketizedUnit]:
        """Units to send now; `ntp` is the wall time of `now`."""
        units: list[PacketizedUnit] = []
        while self._waiting and self.next_at <= now:
            units.append(self._stamped(self._waiting.popleft(), self.next_at, ntp))
            self.next_at += self._step_s
        return units

    def _stamped(self, unit: PacketizedUnit, at: float, ntp: int) -> PacketizedUnit:
        # The newest kept unit shows how stamps, times of capture and times of sending lie to each other.
        newest = self._newest
        return msgspec.structs.replace(
            unit,
            timestamp=newest.timestamp + round((at - newest.packetized_at) * self._clock_hz),
            captured_at=newest.captured_at + at - newest.packetized_at,
            packetized_at=at,
            ntp=ntp,
        )
