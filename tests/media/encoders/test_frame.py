"""Copies of raw pictures."""

import av
import pytest

from media.encoders.frame import private_copy


def painted(width: int, height: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(frame.planes):
        plane.update(bytes((i * 7 + index) % 251 for i in range(plane.buffer_size)))
    return frame


@pytest.mark.parametrize("size", [(320, 180), (854, 480), (162, 92)])
def test_copy_shows_the_same(size: tuple[int, int]) -> None:
    frame = painted(*size)
    assert (private_copy(frame).to_ndarray() == frame.to_ndarray()).all()


def test_copy_of_a_picture_with_other_line_sizes_shows_the_same() -> None:
    graph = av.filter.Graph()
    source, pixels, sink = graph.add("testsrc2", "size=162x92"), graph.add("format", "yuv420p"), graph.add("buffersink")
    source.link_to(pixels)
    pixels.link_to(sink)
    graph.configure()
    frame = graph.vpull()
    copy = private_copy(frame)
    assert [plane.line_size for plane in frame.planes] != [plane.line_size for plane in copy.planes]
    assert (copy.to_ndarray() == frame.to_ndarray()).all()


def test_original_keeps_its_picture_type_and_its_pixels() -> None:
    frame = painted(160, 90)
    before = bytes(frame.planes[0])
    copy = private_copy(frame)
    copy.pict_type = 1
    copy.planes[0].update(bytes(copy.planes[0].buffer_size))
    assert frame.pict_type == 0
    assert bytes(frame.planes[0]) == before
