"""URI -> source."""

from urllib.parse import parse_qsl

from media.sources.pattern import PatternSource
from media.sources.source import Source, SourceError

KNOWN = 'there are: "test", "test?size=640x360&fps=15" and "file:PATH"'


def open_source(uri: str) -> Source:
    """Open what a URI names: `test` with the options `size` and `fps`, or `file:PATH`.

    Raises: SourceError: show its text to the operator.
    """
    scheme, _, _ = uri.partition(":")
    name, _, query = uri.partition("?")
    if name in ("test", "test:"):
        return _open_pattern(query)
    if scheme == "file":
        raise SourceError("files are not there yet")
    raise SourceError(f'"{uri}" is not a source; {KNOWN}')


def _open_pattern(query: str) -> PatternSource:
    options = dict(parse_qsl(query, keep_blank_values=True))
    width, height, fps = 1280, 720, 30.0
    for key, value in options.items():
        if key == "size":
            a, _, b = value.partition("x")
            width, height = int(a), int(b)
        elif key == "fps":
            fps = float(value)
        else:
            raise SourceError(f'the test pattern has no option "{key}"; it has: size, fps')
    return PatternSource(width, height, fps)
