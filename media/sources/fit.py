"""Pictures of any size, pixel format and orientation -> yuv420p of one size, with bars where the shape differs."""

from collections.abc import Iterable
from fractions import Fraction

import av
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from media.sources.source import SetupError

LEAST_SIDE, LARGEST_SIDE = 16, 4096
_TURNS = {1: (("transpose", "cclock"),), 2: (("hflip", ""), ("vflip", "")), 3: (("transpose", "clock"),)}
"""Filters by quarters of a turn counterclockwise, which is what a container tells."""
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


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of a picture after `Fit` has turned it upright."""
    return (frame.height, frame.width) if round(frame.rotation / 90) % 2 else (frame.width, frame.height)


class Fit:
    """Fits pictures in; the size of what comes may change at any time. Used by one thread."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._reformatter = VideoReformatter()
        self._inner = self._outer = (0, 0)
        self._bars: _Filter | None = None
        self._turn: _Filter | None = None
        self._turned: tuple[object, ...] = ()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A picture of our size, without a picture type of its own."""
        if frame.rotation:
            frame = self._upright(frame)
        outer = frame.width, frame.height
        if outer != self._outer:
            self._outer = outer
            self._inner = self._within(*outer)
            self._bars = self._made_bars()
        fitted = self._reformatter.reformat(frame, *self._inner, "yuv420p", threads=1)
        if self._bars is not None:
            fitted = self._bars.apply(fitted)
        fitted.pict_type = PictureType.NONE
        return fitted

    def _upright(self, frame: av.VideoFrame) -> av.VideoFrame:
        """What a phone held upright or upside down has taken."""
        kind = frame.rotation, frame.width, frame.height, frame.format.name
        if kind != self._turned:
            self._turned = kind
            steps = _TURNS.get(round(frame.rotation / 90) % 4, ())
            self._turn = _Filter(frame.width, frame.height, frame.format, steps)
        return self._turn.apply(frame) if self._turn is not None else frame

    def _made_bars(self) -> "_Filter | None":
        if self._inner == (self._width, self._height):
            return None
        left, top = (self._width - self._inner[0]) // 4 * 2, (self._height - self._inner[1]) // 4 * 2
        pad = ("pad", f"{self._width}:{self._height}:{left}:{top}:black")
        return _Filter(*self._inner, av.VideoFormat("yuv420p"), (pad,))

    def _within(self, width: int, height: int) -> tuple[int, int]:
        """The largest even size of the same shape that has room."""
        scale = min(self._width / width, self._height / height)
        inner_width, inner_height = (max(round(side * scale / 2) * 2, 2) for side in (width, height))
        if abs(self._width / inner_width - 1) < _SHAPE_SLACK and abs(self._height / inner_height - 1) < _SHAPE_SLACK:
            return self._width, self._height
        return inner_width, inner_height


class _Filter:
    """A chain of FFmpeg's filters for pictures of one size and format."""

    def __init__(self, width: int, height: int, form: av.VideoFormat, steps: Iterable[tuple[str, str]]) -> None:
        self._graph = graph = av.filter.Graph()
        last = graph.add_buffer(width=width, height=height, format=form, time_base=Fraction(1, 90_000))
        for name, options in (*steps, ("buffersink", "")):
            step = graph.add(name, options)
            last.link_to(step)
            last = step
        graph.configure()

    def apply(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Filter one picture."""
        self._graph.vpush(frame)
        return self._graph.vpull()
