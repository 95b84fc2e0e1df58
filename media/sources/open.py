"""URI -> source."""

from media.sources import uri
from media.sources.file import FileSource
from media.sources.pattern import PatternSource
from media.sources.source import Source, SourceError
from media.sources.uri import File, Pattern


def open_source(text: str) -> Source:
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
        case _:
            raise SourceError(f"{uri.shown(text)}: not in this build")
