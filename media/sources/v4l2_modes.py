"""What a V4L2 device can do, asked by ioctl; and which of it to use.

Numbers and layouts are those of linux/videodev2.h on machines of 64 bits.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from media.sources.source import SourceError
from media.sources.uri import Size, V4l2

_QUERYCAP, _ENUM_FMT = 0x80685600, 0xC0405602
_ENUM_FRAMESIZES, _ENUM_FRAMEINTERVALS = 0xC02C564A, 0xC034564B
_CAPTURE, _HAS_DEVICE_CAPS = 0x00000001, 0x80000000
_DISCRETE = 1
_MOST = 64
"""Entries asked for of one kind: a driver that never ends its list would hold us."""
USUAL_SIZES = (Size(640, 480), Size(1280, 720), Size(1920, 1080))
"""Named where a device takes any size between two."""
WISHED = Size(1280, 720)
WISHED_FPS = 30.0

FORMATS = {
    b"YUYV": "yuyv422", b"UYVY": "uyvy422", b"YU12": "yuv420p", b"NV12": "nv12", b"422P": "yuv422p",
    b"RGB3": "rgb24", b"BGR3": "bgr24", b"GREY": "gray", b"MJPG": "mjpeg", b"JPEG": "mjpeg", b"H264": "h264",
}  # fmt: skip
"""Names of FFmpeg by those of V4L2; others are not used."""
_ORDER = ("h264", "yuv420p", "nv12", "yuyv422", "uyvy422", "yuv422p", "mjpeg", "rgb24", "bgr24", "gray")
"""What is taken first where several have the size and the rate; H.264 only on request, for nobody can ask it for a key
frame."""

Ioctl = Callable[[int, int, bytearray], object]
"""`fcntl.ioctl` of a descriptor; raises OSError."""


class Mode(msgspec.Struct, frozen=True, order=True):
    """One format in one size, and its rates in pictures per second; without any it takes all."""

    format: str
    width: int
    height: int
    rates: tuple[float, ...] = ()

    def __str__(self) -> str:
        rates = f" at {', '.join(f'{rate:g}' for rate in self.rates)} fps" if self.rates else ""
        return f"{self.format} {self.width}x{self.height}{rates}"


def read_modes(descriptor: int, ioctl: Ioctl = fcntl.ioctl) -> list[Mode]:
    """All modes of an open device. Raises: OSError: it is no V4L2 device; SourceError: it captures nothing."""
    answer = bytearray(104)
    ioctl(descriptor, _QUERYCAP, answer)
    capabilities, of_device = struct.unpack_from("=II", answer, 84)
    if not (of_device if capabilities & _HAS_DEVICE_CAPS else capabilities) & _CAPTURE:
        raise SourceError("the device captures no pictures; a camera has several, try the next number")
    modes = []
    for code in _formats(descriptor, ioctl):
        if code in FORMATS:
            for size in _sizes(descriptor, ioctl, code):
                rates = tuple(sorted(_rates(descriptor, ioctl, code, size), reverse=True))
                modes.append(Mode(FORMATS[code], size.width, size.height, rates))
    return modes


def _formats(descriptor: int, ioctl: Ioctl) -> Iterator[bytes]:
    with suppress(OSError):  # EINVAL ends a list
        for index in range(_MOST):
            answer = bytearray(struct.pack("=III32sI16x", index, 1, 0, b"", 0))
            ioctl(descriptor, _ENUM_FMT, answer)
            yield bytes(answer[44:48])


def _sizes(descriptor: int, ioctl: Ioctl, code: bytes) -> Iterator[Size]:
    with suppress(OSError):
        for index in range(_MOST):
            answer = bytearray(struct.pack("=I4sI24x8x", index, code, 0))
            ioctl(descriptor, _ENUM_FRAMESIZES, answer)
            kind, width, height = struct.unpack_from("=III", answer, 8)
            if kind != _DISCRETE:  # width from, to, step; height from, to, step
                most_width, least_height, most_height = height, *struct.unpack_from("=II", answer, 24)
                yield from (
                    size
                    for size in (*USUAL_SIZES, Size(most_width, most_height))
                    if width <= size.width <= most_width and least_height <= size.height <= most_height
                )
                return
            yield Size(width, height)


def _rates(descriptor: int, ioctl: Ioctl, code: bytes, size: Size) -> Iterator[float]:
    with suppress(OSError):
        for index in range(_MOST):
            answer = bytearray(struct.pack("=I4sIII24x8x", index, code, size.width, size.height, 0))
            ioctl(descriptor, _ENUM_FRAMEINTERVALS, answer)
            kind, seconds, parts = struct.unpack_from("=III", answer, 16)
            if kind != _DISCRETE or not seconds:
                return
            yield round(parts / seconds, 3)


def choose(modes: list[Mode], place: V4l2) -> Mode:
    """The mode that is meant, else the one nearest to 1280x720 at 30 pictures per second.

    Raises: SourceError: there is none; its text lists those there are.
    """
    able = [
        mode
        for mode in modes
        if (place.format is None and mode.format != "h264") or mode.format == place.format
        if place.size is None or (mode.width, mode.height) == (place.size.width, place.size.height)
        if place.fps is None or not mode.rates or any(abs(rate - place.fps) < 0.5 for rate in mode.rates)
    ]
    if able:
        return min(able, key=lambda mode: _distance(mode, place.fps or WISHED_FPS))
    wishes = " ".join(str(wish) for wish in (place.format, place.size) if wish)
    wishes += f" at {place.fps:g} fps" if place.fps else ""
    raise SourceError(f"the device has no mode {wishes.strip()}; it has {told(modes)}")


def told(modes: list[Mode]) -> str:
    """All modes in one line."""
    return "; ".join(str(mode) for mode in sorted(modes)) or "none that can be used"


def rate(mode: Mode, wished: float | None) -> float:
    """The rate to run a mode at."""
    target = wished or WISHED_FPS
    return min(mode.rates, key=lambda each: abs(each - target), default=target)


def _distance(mode: Mode, fps: float) -> tuple[float, float, int]:
    """How far a mode is from what one wants: too slow first, then the size, then the format."""
    best = max(mode.rates, default=fps)
    slow = max(0.0, fps - 1 - best)
    pixels = abs(mode.width * mode.height - WISHED.width * WISHED.height)
    return (slow, pixels, _ORDER.index(mode.format))


def open_device(path: str) -> int:
    """A descriptor of the device. Raises: OSError."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
