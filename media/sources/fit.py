"""Pictures of any size and pixel format -> yuv420p of one size, with bars where the shape differs."""

from fractions import Fraction

import av
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from media.sources.source import SetupError

LEAST_SIDE, LARGEST_SIDE = 16, 4096
_SHAPE_SLACK = 0.02
"""Rounding an odd side to an even one changes the shape by less; that is no reason for bars."""


def even_size(width: int, height: int, owner: str) -> tuple[int, int]:
    """The size in which a picture is encoded: odd sides lose a row or column.

    Raises: SetupError: too small or too large to encode; `owner` begins the sentence.
    """
    even = width // 2 * 2, height // 2 * 2
    if min(even) < LEAST_SIDE or max(even) > LARGEST_SIDE:
        raise SetupError(f"{owner} is {width}x{height}; a side must have {LEAST_SIDE} to {LARGEST_SIDE} pixels")
    return even


class Fit:
    """Fits pictures in; the size of what comes may change at any time. Used by one thread."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._reformatter = VideoReformatter()
        self._inner = self._outer = (0, 0)
        self._bars: _Bars | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A picture of our size, without a picture type of its own."""
        outer = frame.width, frame.height
        if outer != self._outer:
            self._outer = outer
            self._inner = self._within(*outer)
            self._bars = _Bars(self._inner, (self._width, self._height)) if self._has_bars() else None
        fitted = self._reformatter.reformat(frame, *self._inner, "yuv420p", threads=1)
        if self._bars is not None:
            fitted = self._bars.around(fitted)
        fitted.pict_type = PictureType.NONE
        return fitted

    def _has_bars(self) -> bool:
        return self._inner != (self._width, self._height)

    def _within(self, width: int, height: int) -> tuple[int, int]:
        """The largest even size of the same shape that has room."""
        scale = min(self._width / width, self._height / height)
        inner_width, inner_height = (max(round(side * scale / 2) * 2, 2) for side in (width, height))
        if abs(self._width / inner_width - 1) < _SHAPE_SLACK and abs(self._height / inner_height - 1) < _SHAPE_SLACK:
            return self._width, self._height
        return inner_width, inner_height


class _Bars:
    """FFmpeg's pad: it puts a picture into the middle of a black one."""

    def __init__(self, inner: tuple[int, int], outer: tuple[int, int]) -> None:
        self._graph = graph = av.filter.Graph()
        place = ":".join(str((out - within) // 4 * 2) for out, within in zip(outer, inner, strict=True))
        source = graph.add_buffer(
            width=inner[0], height=inner[1], format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 90_000)
        )
        pad = graph.add("pad", f"{outer[0]}:{outer[1]}:{place}:black")
        sink = graph.add("buffersink")
        source.link_to(pad)
        pad.link_to(sink)
        graph.configure()

    def around(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._graph.vpush(frame)
        return self._graph.vpull()
