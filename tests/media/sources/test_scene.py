"""The picture: everything in its place, whatever was in the frame before."""

import av
import numpy as np
import pytest

from media.sources import counter
from media.sources.counter import Counter
from media.sources.scene import Moment, Plan, Scene

SIZES = [(160, 90), (320, 180), (642, 362), (1280, 720), (480, 640), (1366, 768)]


def drawn(size: tuple[int, int], moment: Moment, dirt: int = 0) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([dirt]) * plane.buffer_size)
    scene = Scene(frame)
    scene.stamp(scene.paint(frame, moment.number), moment)
    return frame


def luma(frame: av.VideoFrame) -> np.ndarray:  # type: ignore[type-arg]
    return frame.to_ndarray()[: frame.height]


@pytest.mark.parametrize("size", SIZES)
def test_counter_is_readable_in_each_size(size: tuple[int, int]) -> None:
    frame = drawn(size, Moment(77, 2.5, 1_234_567_890_123))
    plane = frame.planes[0]
    assert counter.read(memoryview(plane), plane.line_size, *size) == Counter(77, 1_234_567_890_123 % 2**32)


@pytest.mark.parametrize("size", SIZES)
def test_whole_picture_is_painted(size: tuple[int, int]) -> None:
    moment = Moment(12, 0.4, 0)
    assert (drawn(size, moment, 0).to_ndarray() == drawn(size, moment, 255).to_ndarray()).all()


@pytest.mark.parametrize("size", SIZES)
def test_parts_lie_below_each_other_on_even_rows(size: tuple[int, int]) -> None:
    plan = Plan.of(*size)
    tops = [5 * plan.cell, plan.panel_bottom, plan.hills_top, plan.field_top, plan.bars_top, plan.ramp_top, plan.height]
    assert tops == sorted(tops)
    assert plan.hills_top < plan.field_top < plan.bars_top < plan.ramp_top < plan.height
    assert all(top % 2 == 0 for top in tops[1:])


def test_landscape_moves_by_whole_pixels_to_the_left() -> None:
    plan = Plan.of(320, 180)
    rows = slice(plan.field_top - 20, plan.field_top)
    first, later = (luma(drawn((320, 180), Moment(number, 0.5, 0)))[rows].astype(int) for number in (0, 4))
    shifted = abs(first[:, 8:] - later[:, :-8]).mean()
    assert shifted < 1
    assert abs(first - later).mean() > 3 * shifted + 2


def test_camera_noise_changes_from_picture_to_picture() -> None:
    plan = Plan.of(320, 180)
    row = plan.hills_top + 2
    first, second = (luma(drawn((320, 180), Moment(number, 4.0, 0)))[row] for number in (0, 1))
    assert (first != second).mean() > 0.5


def test_sun_flashes_at_the_start_of_each_second() -> None:
    def white(time_s: float) -> int:
        plan = Plan.of(640, 360)
        return int((luma(drawn((640, 360), Moment(0, time_s, 0)))[plan.hills_top : plan.field_top] == 235).sum())

    assert white(3.05) > 500 > white(3.5)


def test_mark_crosses_the_ramp_once_a_second() -> None:
    def mark(time_s: float) -> int:
        row = luma(drawn((640, 360), Moment(0, time_s, 0)))[-1]
        return int(np.argmax(row == 235))

    assert mark(7.0) < mark(7.25) < mark(7.5) < 640


def test_text_changes_with_clock_and_number() -> None:
    plan = Plan.of(640, 360)
    text = slice(5 * plan.cell, plan.panel_bottom)
    a, b, c = (
        luma(drawn((640, 360), Moment(number, 0.0, wall_ms)))[text]
        for number, wall_ms in ((1, 1000), (2, 1000), (1, 2000))
    )
    half = 320
    assert (a[:, :half] == b[:, :half]).all()
    assert (a[:, half:] != b[:, half:]).any()
    assert (a[:, half:] == c[:, half:]).all()
    assert (a[:, :half] != c[:, :half]).any()


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_that_comes_back_shows_nothing_of_the_picture_before(size: tuple[int, int]) -> None:
    frame = av.VideoFrame(*size, "yuv420p")
    scene = Scene(frame)
    for moment in (Moment(5, 0.05, 999_999_999), Moment(12_345, 3.7, 0)):
        scene.stamp(scene.paint(frame, moment.number), moment)
        assert (frame.to_ndarray() == drawn(size, moment, 7).to_ndarray()).all()
