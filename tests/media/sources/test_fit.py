"""Pictures of any size and pixel format in yuv420p of one size."""

import av
import pytest

from media.sources.fit import Fit, even_size
from media.sources.source import SourceError


def white(width: int, height: int, form: str) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, form)
    for plane in frame.planes:
        plane.update(b"\xff" * plane.buffer_size)
    return frame


def luma(frame: av.VideoFrame, x: int, y: int) -> int:
    plane = frame.planes[0]
    return memoryview(plane)[y * plane.line_size + x]


SHAPES = [((64, 64), [(2, 32), (125, 32)]), ((320, 90), [(64, 2), (64, 61)]), ((128, 64), []), ((129, 65), [])]


def test_other_shape_gets_bars() -> None:
    for size, dark in SHAPES:
        fitted = Fit(128, 64)(white(*size, "bgr0"))
        assert (fitted.width, fitted.height, fitted.format.name, fitted.pict_type) == (128, 64, "yuv420p", 0)
        assert luma(fitted, 64, 32) == 235
        assert [luma(fitted, *place) for place in dark] == [16] * len(dark)
        assert (luma(fitted, 2, 32) == 16) is ((2, 32) in dark)


def test_size_may_change() -> None:
    fit = Fit(64, 64)
    sizes = [(32, 64), (64, 64), (64, 32), (17, 4000)]
    assert {(picture.width, picture.height) for size in sizes for picture in [fit(white(*size, "yuyv422"))]} == {
        (64, 64)
    }


SIZES = [((161, 91), (160, 90)), ((17, 16), (16, 16))]


def test_odd_side_loses_a_row_or_column() -> None:
    for size, even in SIZES:
        assert even_size(*size, "it") == even


def test_size_that_cannot_be_encoded_gets_a_sentence() -> None:
    with pytest.raises(SourceError, match="the camera is 5000x15; a side must have 16 to 4096 pixels"):
        even_size(5000, 15, "the camera")
