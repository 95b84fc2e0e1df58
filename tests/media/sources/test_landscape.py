"""Painting of the strips."""

import pytest

from media.sources import landscape
from media.sources.landscape import SPECKLE


@pytest.mark.parametrize("width", [160, 642, 1280])
def test_rows_have_the_width_and_chroma_half_of_it(width: int) -> None:
    noise = landscape.grain(width)
    for rows in (landscape.hills(width, 60, 0.4, noise), landscape.field(width, 20, noise)):
        assert {len(row) for row in rows.y} == {width}
        assert {len(row) for row in rows.u + rows.v} == {width // 2}
        assert len(rows.u) == len(rows.v) == len(rows.y) // 2


def test_luma_is_in_studio_range_with_room_for_the_noise() -> None:
    noise = landscape.grain(320)
    for rows in (landscape.hills(320, 60, 0.4, noise), landscape.field(320, 20, noise)):
        assert min(map(min, rows.y)) >= 16
        assert max(map(max, rows.y)) <= 235 < 256 - SPECKLE


def test_sky_is_above_the_hills() -> None:
    rows = landscape.hills(320, 100, 0.4, landscape.grain(320))
    assert len(set(rows.y[0])) == 1
    assert len(set(rows.y[-1])) > 10


def test_hills_meet_where_the_strip_wraps() -> None:
    rows = landscape.hills(640, 200, 0.4, landscape.grain(640))

    def top(x: int) -> int:
        return next(y for y, row in enumerate(rows.y) if y and abs(row[x] - rows.y[y - 1][x]) > 8)

    assert abs(top(0) - top(639)) <= 4


def test_painting_is_the_same_each_time() -> None:
    noise = landscape.grain(160)
    assert noise == landscape.grain(160)
    assert landscape.hills(160, 40, 0.4, noise) == landscape.hills(160, 40, 0.4, noise)


def test_speckle_adds_a_little_noise_that_differs_from_take_to_take() -> None:
    flat = bytes([100]) * 10_000
    first, second = landscape.speckle(flat, 0), landscape.speckle(flat, 1)
    assert first != second
    assert (min(first), max(first)) == (100, 100 + SPECKLE)
    assert sum(first) / len(first) == pytest.approx(100 + SPECKLE / 2, abs=0.1)
    assert max(landscape.speckle(bytes([235]) * 1000, 2)) == 235 + SPECKLE
