"""The picture that stands for a source that gives none. No I/O."""

import av
from av.video.frame import PictureType

from media.sources.font import ADVANCE, HEIGHT, Font

TEXT = "NO PICTURE FROM THE SOURCE, TRYING AGAIN"
LUMA, CHROMA, INK = 40, 128, 180
_LEADING = 5
"""Dots between two lines of text."""
_PART = 0.8
"""How much of the width and the height the text may take."""


def slate(width: int, height: int) -> av.VideoFrame:
    """A grey yuv420p picture with a sentence as large as fits; without it where it does not fit at all."""
    frame = av.VideoFrame(width, height, "yuv420p")
    frame.pict_type = PictureType.NONE
    for plane, value in zip(frame.planes, (LUMA, CHROMA, CHROMA), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    scale, lines = _layout(width, height)
    if not lines:
        return frame
    font = Font(scale, INK, LUMA)
    luma = memoryview(frame.planes[0])
    top = (height - _text_height(len(lines), scale)) // 2
    for number, line in enumerate(lines):
        left = (width - len(line) * font.advance) // 2
        font.draw(luma, frame.planes[0].line_size, left, top + number * (HEIGHT + _LEADING) * scale, line)
    return frame


def _text_height(lines: int, scale: int) -> int:
    return (lines * (HEIGHT + _LEADING) - _LEADING) * scale


def _layout(width: int, height: int) -> tuple[int, list[str]]:
    for scale in range(max(1, width // (10 * ADVANCE)), 0, -1):
        lines = _wrapped(int(width * _PART) // (ADVANCE * scale))
        if lines and _text_height(len(lines), scale) <= height * _PART:
            return scale, lines
    return 1, []


def _wrapped(columns: int) -> list[str]:
    lines: list[str] = []
    for word in TEXT.split():
        if len(word) > columns:
            return []
        if lines and len(lines[-1]) + 1 + len(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
