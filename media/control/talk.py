"""Sound of talkers towards one speaker: a bounded jitter buffer each, who has the floor, and the mix. No I/O, no clock.

All sound is mono s16 at 48 kHz in the byte order of the machine; `now` is monotonic seconds.
"""

from array import array
from collections.abc import Hashable, Sequence

RATE_HZ = 48_000
SAMPLE_BYTES = 2
TICK_S = 0.02
TICK_BYTES = round(RATE_HZ * TICK_S) * SAMPLE_BYTES
SILENCE = bytes(TICK_BYTES)
START_BYTES = 3 * TICK_BYTES
MOST_BYTES = 10 * TICK_BYTES
"""200 ms: what is older is dropped, so that no talker is heard later than that."""
REST_S = 0.1
"""Nothing came for so long: what is left is the end of a sentence and is played."""
FLOOR_S = 1.0


class TalkBuffer:
    """Evens out how the sound of one talker comes: 60 ms before it plays, never more than 200 ms."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._is_playing = False
        self._came_at = 0.0
        self.dropped_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Nothing waits to be played."""
        return not self._waiting

    def put(self, sound: bytes, now: float) -> None:
        """Add sound; when there is too much, the oldest goes, down to 60 ms."""
        self._waiting += sound
        self._came_at = now
        if len(self._waiting) > MOST_BYTES:
            surplus = len(self._waiting) - START_BYTES
            del self._waiting[:surplus]
            self.dropped_bytes += surplus

    def take(self, now: float) -> bytes | None:
        """Give the 20 ms to play now, the last of a sentence filled up with silence; None while there is nothing."""
        is_over = now - self._came_at >= REST_S
        if not self._is_playing and (len(self._waiting) >= START_BYTES or (is_over and self._waiting)):
            self._is_playing = True
        if not self._is_playing:
            return None
        if len(self._waiting) < TICK_BYTES and not (is_over and self._waiting):
            self._is_playing = False
            return None
        piece = bytes(self._waiting[:TICK_BYTES])
        del self._waiting[:TICK_BYTES]
        return piece.ljust(TICK_BYTES, b"\0")


class Floor:
    """One talker at a time: who is heard first keeps the floor until `hold_s` after the last sound from there."""

    def __init__(self, hold_s: float = FLOOR_S) -> None:
        self._hold_s = hold_s
        self._heard_at = 0.0
        self.holder: Hashable | None = None

    def take(self, loud: Sequence[Hashable], now: float) -> Hashable | None:
        """Who has the floor now, given those that are loud in this moment, the longest here first."""
        if self.holder is not None and self.holder not in loud and now - self._heard_at >= self._hold_s:
            self.holder = None
        if self.holder is None and loud:
            self.holder = loud[0]
        if self.holder in loud:
            self._heard_at = now
        return self.holder


def mix(pieces: Sequence[bytes]) -> bytes:
    """Add up pieces of equal length; what is too loud is clipped."""
    if not pieces:
        return SILENCE
    if len(pieces) == 1:
        return pieces[0]
    columns = zip(*(memoryview(piece).cast("h") for piece in pieces), strict=True)
    return array("h", [max(-32768, min(32767, sum(column))) for column in columns]).tobytes()
