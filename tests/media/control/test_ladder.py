"""The sizes of a picture for viewers with narrow paths."""

import pytest

from media.control.ladder import Layer, rungs
from media.encoders.encoder import Shape


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((1280, 720), [(1280, 720), (640, 360), (320, 180)]),
        ((1920, 1080), [(1920, 1080), (960, 540), (480, 270)]),
        ((854, 480), [(854, 480), (428, 240), (214, 120)]),
        ((320, 180), [(320, 180), (160, 90)]),
        ((360, 640), [(360, 640), (180, 320)]),
        ((318, 178), [(318, 178)]),
        ((64, 1000), [(64, 1000)]),
    ],
)
def test_half_and_quarter_are_even_and_not_too_small(size: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    layers = rungs(Shape(*size, 30), 1_000_000)
    assert [(layer.width, layer.height) for layer in layers] == sizes
    assert [layer.number for layer in layers] == list(range(len(sizes)))


def test_rates_are_in_proportion_to_the_full_one() -> None:
    assert [layer.bitrate_bps for layer in rungs(Shape(1280, 720, 30), 2_000_000)] == [2_000_000, 600_000, 150_000]
    assert rungs(Shape(1280, 720, 30), 3_000_000)[1] == Layer(1, 640, 360, 900_000)
