"""What a V4L2 device can do: the ioctls answered by a device of our own."""

import errno
import struct

import pytest

from media.sources import v4l2_modes
from media.sources.source import SourceError
from media.sources.uri import Size, V4l2
from media.sources.v4l2_modes import Mode, choose, rate, read_modes

CAMERA = {
    b"YUYV": {(640, 480): [30, 15], (1280, 720): [10]},
    b"MJPG": {(1280, 720): [30, 60], (1920, 1080): [30]},
    b"H264": {(1920, 1080): [30]},
    b"XYZW": {(640, 480): [30]},
}
MODES = [
    Mode("yuyv422", 640, 480, (30.0, 15.0)),
    Mode("yuyv422", 1280, 720, (10.0,)),
    Mode("mjpeg", 1280, 720, (60.0, 30.0)),
    Mode("mjpeg", 1920, 1080, (30.0,)),
    Mode("h264", 1920, 1080, (30.0,)),
]


class Driver:
    """Answers as a kernel does; `is_stepwise` takes every size from 16x16 to 1000x1000."""

    def __init__(self, capabilities: int = 0x84200001, of_device: int = 1, is_stepwise: bool = False) -> None:
        self._capabilities = capabilities, of_device
        self._is_stepwise = is_stepwise

    def __call__(self, _descriptor: int, request: int, answer: bytearray) -> int:
        kind, size = request & 0xFF, request >> 16 & 0x3FFF
        assert len(answer) == size
        try:
            {0: self._capability, 2: self._format, 74: self._size, 75: self._rate}[kind](answer)
        except IndexError:
            raise OSError(errno.EINVAL, "no more") from None
        return 0

    def _capability(self, answer: bytearray) -> None:
        struct.pack_into("=II", answer, 84, *self._capabilities)

    def _format(self, answer: bytearray) -> None:
        index, type_ = struct.unpack_from("=II", answer)
        assert type_ == 1
        answer[44:48] = list(CAMERA)[index]

    def _size(self, answer: bytearray) -> None:
        index, code = struct.unpack_from("=I4s", answer)
        if self._is_stepwise:
            struct.pack_into("=IIIIIII", answer, 8, 3, 16, 1000, 2, 16, 1000, 2)
        else:
            struct.pack_into("=III", answer, 8, 1, *list(CAMERA[code])[index])

    def _rate(self, answer: bytearray) -> None:
        index, code, width, height = struct.unpack_from("=I4sII", answer)
        rates = CAMERA[code].get((width, height), [])
        struct.pack_into("=III", answer, 16, 1, 1, rates[index])


def test_modes_are_read_and_unknown_formats_left_out() -> None:
    assert read_modes(7, Driver()) == MODES


def test_device_that_takes_any_size_has_the_usual_ones() -> None:
    sizes = {(mode.width, mode.height) for mode in read_modes(7, Driver(is_stepwise=True))}
    assert sizes == {(640, 480), (1000, 1000)}


def test_node_of_a_camera_that_captures_nothing_is_told() -> None:
    with pytest.raises(SourceError, match="try the next number"):
        read_modes(7, Driver(of_device=0x00800000))


WISHES = [
    (V4l2("/d"), MODES[2], 30),
    (V4l2("/d", fps=60), MODES[2], 60),
    (V4l2("/d", Size(640, 480)), MODES[0], 30),
    (V4l2("/d", Size(640, 480), 15), MODES[0], 15),
    (V4l2("/d", format="yuyv422"), MODES[0], 30),
    (V4l2("/d", format="h264"), MODES[4], 30),
    (V4l2("/d", Size(1920, 1080)), MODES[3], 30),
]


def test_mode_that_is_meant_is_chosen_else_the_one_nearest_to_720p30() -> None:
    for wish, mode, fps in WISHES:
        assert choose(MODES, wish) == mode
        assert rate(mode, wish.fps) == fps


def test_wish_that_cannot_be_had_is_answered_by_what_there_is() -> None:
    with pytest.raises(SourceError) as caught:
        choose(MODES, V4l2("/d", Size(640, 360), 25, "mjpeg"))
    assert "has no mode mjpeg 640x360 at 25 fps" in str(caught.value)
    assert "yuyv422 640x480 at 30, 15 fps; " in str(caught.value)
    with pytest.raises(SourceError, match="none that can be used"):
        choose([], V4l2("/d"))
    assert v4l2_modes.rate(Mode("nv12", 640, 480), None) == 30
