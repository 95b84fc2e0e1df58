"""URI -> source."""

from functools import partial

from media.sources import uri
from media.sources.command import CommandStream, check_program
from media.sources.file import FileSource
from media.sources.live import PROBE_S, LiveSource
from media.sources.pattern import PatternSource
from media.sources.rtsp import RtspStream
from media.sources.screen import ScreenStream
from media.sources.source import Facts, Source, SourceError
from media.sources.uri import Command, File, Pattern, Place, Rtsp, Screen, V4l2
from media.sources.v4l2 import V4l2Stream

ASSUMED = Facts(1280, 720, 30.0)
"""What is announced for a source that is not there at the start, and has no size in its URI."""


def open_source(text: str, probe_s: float = PROBE_S) -> Source:
    """Open what a URI names; see `uri`. A file is looked into; a camera, a screen or a program need not be there yet.

    Raises: SourceError: show its text to the operator.
    """
    try:
        place = uri.parse(text)
    except uri.UriError as error:
        raise SourceError(str(error)) from None
    match place:
        case Pattern():
            return PatternSource(place.size.width, place.size.height, place.fps)
        case File():
            return FileSource(place.path, place.transcode)
    return _live(place, uri.shown(text), probe_s)


def _live(place: Place, name: str, probe_s: float) -> LiveSource:
    match place:
        case Rtsp():
            assumed = Facts(ASSUMED.width, ASSUMED.height, ASSUMED.fps, has_audio=True)
            return LiveSource(name, partial(RtspStream, place), assumed, probe_s)
        case V4l2():
            return LiveSource(name, partial(V4l2Stream, place), _as_wished(place.size, place.fps), probe_s)
        case Screen():
            return LiveSource(name, partial(ScreenStream, place), _as_wished(place.size, place.fps), probe_s)
        case Command():
            check_program(place)
            return LiveSource(name, partial(CommandStream, place), ASSUMED, probe_s)
        case Pattern() | File():
            raise SourceError(f"{name} is not live")


def _as_wished(size: uri.Size | None, fps: float | None) -> Facts:
    width, height = (size.width // 2 * 2, size.height // 2 * 2) if size else (ASSUMED.width, ASSUMED.height)
    return Facts(width, height, fps or ASSUMED.fps)
