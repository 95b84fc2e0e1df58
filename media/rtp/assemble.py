"""Packets of one stream into whole frames, in order: a bounded window, and what is given up after a while.

A frame ends at its marker bit, when nothing of it is missing; it does not wait for the next one. After a loss that
was not repaired nothing comes out before the next key frame. No I/O, no clock: `now` is monotonic seconds.
"""

import msgspec

from media.rtp.depacketize import Form
from media.rtp.packet import Packet

FRAME_PACKETS = 2048
"""A frame of more packets is none."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """The payloads of one whole frame.

    `timestamp` counts the codec's RTP clock without wrapping, `received_at` is when its last packet came, `lost` how
    many packets were given up just before it.
    """

    payload_type: int
    payloads: tuple[bytes, ...]
    timestamp: int
    is_key: bool
    received_at: float
    lost: int = 0


class AssemblyStats(msgspec.Struct):
    """Counters: frames that came out, frames left out, packets that were given up, came twice or too late."""

    frames: int = 0
    keyframes: int = 0
    frames_dropped: int = 0
    packets_given_up: int = 0
    packets_unneeded: int = 0


class Window(msgspec.Struct, frozen=True):
    """How many packets may wait for a missing one, and for how long."""

    packets: int
    wait_s: float


class Assembler:
    """Takes packets with unwrapped numbers and gives frames.

    `forms` is by payload type. `has_keyframes` is off for sound, where every packet is a frame.
    """

    def __init__(
        self, forms: dict[int, Form], window: Window, stats: AssemblyStats | None = None, *, has_keyframes: bool
    ) -> None:
        self.stats = stats or AssemblyStats()
        self.needs_keyframe = False
        self._forms = forms
        self._window = window
        self._has_keyframes = has_keyframes
        self._waiting: dict[int, tuple[Packet, float]] = {}
        self._next: int | None = None
        self._hole_since: float | None = None
        self._parts: list[Packet] = []
        self._lost = 0
        self._is_aligned = not has_keyframes
        self._is_awaiting_key = has_keyframes
        self._left_out: int | None = None

    @property
    def next_deadline(self) -> float | None:
        """When the missing packet is given up; None when none is missed."""
        return None if self._hole_since is None else self._hole_since + self._window.wait_s

    @property
    def first_needed(self) -> int | None:
        """Packets before this number are of no use any more; None before the first one."""
        return self._next

    def add(self, packet: Packet, now: float) -> list[Frame]:
        """Take one packet whose `sequence` and `timestamp` are unwrapped; the frames that it makes whole."""
        if self._next is None:
            self._next = packet.sequence
        if packet.sequence < self._next or packet.sequence in self._waiting:
            self.stats.packets_unneeded += 1
            return []
        self._waiting[packet.sequence] = (packet, now)
        frames: list[Frame] = []
        while packet.sequence - self._next >= self._window.packets:
            self._next = self._give_up(self._next)
            self._next = self._drain(self._next, frames)
        return frames + self.expire(now)

    def expire(self, now: float) -> list[Frame]:
        """Frames that are whole by now; a hole that is too old is left behind."""
        frames: list[Frame] = []
        if self._next is None:
            return frames
        self._next = self._drain(self._next, frames)
        while self._waiting:
            if self._hole_since is None:
                self._hole_since = now
            if now - self._hole_since < self._window.wait_s:
                break
            self._next = self._drain(self._give_up(self._next), frames)
        return frames

    def _drain(self, index: int, frames: list[Frame]) -> int:
        while (found := self._waiting.pop(index, None)) is not None:
            index += 1
            self._hole_since = None
            if found[0].payload:  # padding fills its number and is of no frame
                self._consume(*found, frames)
        return index

    def _give_up(self, index: int) -> int:
        """Leave the hole at `index` behind; what waits is not empty."""
        first = min(self._waiting)
        self._hole_since = None
        self._lost += first - index
        self.stats.packets_given_up += first - index
        self._break_off(None)
        return first

    def _break_off(self, left_out: int | None) -> None:
        """The frame at hand is lost and so are those that build on it; `left_out` is the timestamp of its rest."""
        if self._has_keyframes:
            self.stats.frames_dropped += bool(self._parts)
            self._parts.clear()
            self._is_aligned, self._left_out = False, left_out
            self._is_awaiting_key = self.needs_keyframe = True

    def _consume(self, packet: Packet, now: float, frames: list[Frame]) -> None:
        if self._parts and self._parts[0].timestamp != packet.timestamp:
            self._finish(now, frames)  # its marker was never set
        if not self._parts and not self._begins(packet):
            return
        self._parts.append(packet)
        if packet.is_last or not self._has_keyframes:
            self._finish(now, frames)
        elif len(self._parts) > FRAME_PACKETS:
            self._break_off(packet.timestamp)

    def _begins(self, packet: Packet) -> bool:
        """Whether a frame starts here: behind a hole that is known only of what starts a key frame."""
        if not self._is_aligned:
            form = self._forms.get(packet.payload_type)
            is_other = self._left_out is not None and self._left_out != packet.timestamp
            self._is_aligned = is_other or (form is not None and form.starts_key(packet.payload))
        if self._is_aligned:
            return True
        self.needs_keyframe = True
        self._left_out = packet.timestamp
        self._is_aligned = packet.is_last
        return False

    def _finish(self, now: float, frames: list[Frame]) -> None:
        first = self._parts[0]
        payloads = tuple([part.payload for part in self._parts])
        self._parts.clear()
        form = self._forms.get(first.payload_type)
        is_key = form is not None and form.is_key(payloads)
        if self._is_awaiting_key and not is_key:
            self.stats.frames_dropped += 1
            self.needs_keyframe = True
            return
        if is_key:
            self._is_awaiting_key = self.needs_keyframe = False
            self.stats.keyframes += 1
        self.stats.frames += 1
        frames.append(Frame(first.payload_type, payloads, first.timestamp, is_key, now, self._lost))
        self._lost = 0
