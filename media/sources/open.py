"""URI -> source."""

import math
from pathlib import Path
from urllib.parse import parse_qsl

from media.sources.file import FileSource
from media.sources.pattern import PatternSource
from media.sources.source import Source, SourceError

KNOWN = '"test", "test?size=640x360&fps=15" and "file:PATH"'


def open_source(uri: str) -> Source:
    """Open what a URI names: `test` with the options `size` and `fps`, or `file:PATH`. A file is looked into.

    Raises: SourceError: show its text to the operator.
    """
    name, has_query, query = uri.partition("?")
    if name in ("test", "test:"):
        return _open_pattern(query if has_query else "")
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        return FileSource(_path(rest))
    raise SourceError(f'"{uri}" is not a source; there are {KNOWN}')


def _path(rest: str) -> Path:
    rest = rest.removeprefix("//") if rest.startswith("///") else rest
    if not rest or "\0" in rest:
        raise SourceError("file: needs the path of a media file, as in file:/srv/video.mp4")
    return Path(rest).expanduser()


def _open_pattern(query: str) -> PatternSource:
    width, height, fps = 1280, 720, 30.0
    for key, value in parse_qsl(query, keep_blank_values=True):
        match key:
            case "size":
                width, height = _size(value)
            case "fps":
                fps = _fps(value)
            case _:
                raise SourceError(f'the test pattern has no option "{key}"; it has size and fps')
    return PatternSource(width, height, fps)


def _size(text: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and len(side) <= 5 for side in sides):
        raise SourceError(f'size is WIDTHxHEIGHT in pixels, as in size=640x360, not "{text}"')
    return int(sides[0]), int(sides[1])


def _fps(text: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not math.isfinite(fps):
        raise SourceError(f'fps is frames per second, as in fps=15, not "{text}"')
    return fps
