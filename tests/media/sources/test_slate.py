"""The picture of a source that gives none."""

import pytest
from av.video.frame import PictureType

from media.sources.slate import INK, LUMA, slate


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (160, 90), (90, 160), (1920, 200)])
def test_sentence_stands_in_the_middle(width: int, height: int) -> None:
    frame = slate(width, height)
    assert (frame.width, frame.height, frame.pict_type) == (width, height, PictureType.NONE)
    luma = frame.to_ndarray()[:height]
    rows = [number for number in range(height) if INK in luma[number]]
    columns = [number for number in range(width) if INK in luma[:, number]]
    assert abs(rows[0] - (height - 1 - rows[-1])) <= height * 0.05
    assert abs(columns[0] - (width - 1 - columns[-1])) <= width * 0.12
    assert set(luma.flat) == {INK, LUMA}


def test_picture_that_is_too_small_for_words_is_plain() -> None:
    assert set(slate(16, 16).to_ndarray()[:16].flat) == {LUMA}
