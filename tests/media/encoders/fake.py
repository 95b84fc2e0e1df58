"""A device that does what it is told to do wrong: libx264 behind the interface of hardware."""

import threading

import msgspec

from media.encoders.backends import Backend, Route
from media.encoders.choose import OPENERS, Chains
from media.encoders.encoder import AccessUnit, Capture, EncoderError, EncoderSettings, Shape, VideoCapture, VideoEncoder
from media.encoders.failure import OpenError, classify
from media.encoders.software import X264Encoder


class Faults(msgspec.Struct):
    """What goes wrong; of the pictures it counts those of each encoder, from 0."""

    does_not_open: str = ""
    """What FFmpeg logs."""
    session_limit: int | None = None
    holds_back: int = 0
    swaps_at: int | None = None
    stalls_at: int | None = None
    """From there it takes pictures and gives none."""
    hangs_at: int | None = None
    """From there its driver never comes back."""
    dies_at: int | None = None
    repeats_at: int | None = None
    """There it encodes the picture before once more."""
    ignores_bitrate: bool = False
    ignores_key: bool = False


class FakeDevice:
    """Makes encoders with the same faults, counts those that are open, and lets those that hang go at the end."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.open_encoders = 0
        self.opened: list[str] = []
        self.released = threading.Event()
        self.came_back = threading.Event()

    def open(self, backend: Backend, shape: Shape, settings: EncoderSettings) -> VideoEncoder:
        self.opened.append(backend.name)
        if self.faults.does_not_open:
            raise OpenError(classify(self.faults.does_not_open, backend.name))
        if self.faults.session_limit is not None and self.open_encoders >= self.faults.session_limit:
            raise OpenError(classify("OpenEncodeSessionEx failed: out of memory (10): (no details)", backend.name))
        self.open_encoders += 1
        return FakeEncoder(self, shape, settings)

    def chains(self) -> Chains:
        """Chains whose devices are all this one."""
        return Chains({**OPENERS, Route.HARDWARE: self.open, Route.EXTERNAL: self.open})


class FakeEncoder:
    """One encoder of a `FakeDevice`."""

    name = "fake"
    bitrate_costs_key = False

    def __init__(self, device: FakeDevice, shape: Shape, settings: EncoderSettings) -> None:
        self._device = device
        self._faults = device.faults
        self._x264 = X264Encoder(shape, settings)
        self._held: list[AccessUnit] = []
        self._number = -1
        self._before: VideoCapture | None = None
        self._is_closed = False

    def encode(self, capture: VideoCapture, is_key: bool) -> list[AccessUnit]:
        self._number += 1
        faults = self._faults
        if faults.dies_at is not None and self._number >= faults.dies_at:
            raise EncoderError("the device went away")
        if faults.hangs_at is not None and self._number >= faults.hangs_at:
            self._device.released.wait()
            self._device.came_back.set()
        if faults.repeats_at == self._number and self._before is not None:
            capture = Capture(self._before.frame, capture.timestamp, capture.captured_at)
        self._before = capture
        self._held += self._x264.encode(capture, is_key and not faults.ignores_key)
        if faults.stalls_at is not None and self._number >= faults.stalls_at:
            return []
        if faults.swaps_at is not None and self._number in (faults.swaps_at, faults.swaps_at + 1):
            return self._swapped()
        ready = max(len(self._held) - faults.holds_back, 0)
        units, self._held = self._held[:ready], self._held[ready:]
        return units

    def _swapped(self) -> list[AccessUnit]:
        if len(self._held) < 2:
            return []
        units, self._held = self._held[::-1], []
        return units

    def set_bitrate(self, bitrate_bps: int) -> None:
        if not self._faults.ignores_bitrate:
            self._x264.set_bitrate(bitrate_bps)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._device.open_encoders -= 1
        self._x264.close()
