"""The URI form of all sources: text -> what it names, and text that may be shown. Opens nothing.

`SCHEME:PLACE?OPTION=VALUE&OPTION=VALUE`. A command is the exception: all that follows `command:` are its words.
"""

import math
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

import msgspec

FORMS = (
    "test",
    "file:PATH",
    "rtsp://HOST/PATH",
    "v4l2:/dev/video0",
    "screen:",
    "command:PROGRAM ARGUMENT ...",
)
"""One example of each kind, for help and for errors."""

FASTEST_FPS = 120
_USER = re.compile(r"(?<=://)\S*@")
_AUTHORITY = re.compile(r"[^/?#]*")
_REGION = re.compile(r"(\d{1,5})x(\d{1,5})(?:\+(\d{1,5})\+(\d{1,5}))?", re.ASCII)
_V4L2_FORMATS = re.compile(r"[a-z0-9_]{1,20}", re.ASCII)

T = TypeVar("T")


class UriError(ValueError):
    """A URI names no source; the text is a sentence for the operator, without credentials."""


class Size(msgspec.Struct, frozen=True):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Pattern(msgspec.Struct, frozen=True):
    """The test pattern."""

    size: Size = Size(1280, 720)
    fps: float = 30.0


class File(msgspec.Struct, frozen=True):
    """A media file; with `transcode` it is encoded anew even where it could be passed on as it is."""

    path: Path
    transcode: bool = False


class Rtsp(msgspec.Struct, frozen=True):
    """A camera at `url`, which may hold credentials; `transport` is tcp or udp."""

    url: str
    transport: str = "tcp"
    transcode: bool = False

    def __repr__(self) -> str:
        return f"Rtsp({shown(self.url)!r}, {self.transport!r}, {self.transcode!r})"


class V4l2(msgspec.Struct, frozen=True):
    """A capture device; what is None is chosen from what the device has."""

    device: str
    size: Size | None = None
    fps: float | None = None
    format: str | None = None
    transcode: bool = False


class Screen(msgspec.Struct, frozen=True):
    """An X11 display, empty for that of the environment; without `size` all of it from (`left`, `top`) on."""

    display: str = ""
    size: Size | None = None
    left: int = 0
    top: int = 0
    fps: float = 30.0
    cursor: bool = True


class Command(msgspec.Struct, frozen=True):
    """A program and its arguments, which may hold credentials."""

    words: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Command({self.words[0]!r}, {len(self.words) - 1} arguments)"


Place = Pattern | File | Rtsp | V4l2 | Screen | Command


def parse(uri: str) -> Place:
    """Read a URI.

    Raises: UriError: show its text to the operator.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon:
        scheme, question, rest = uri.partition("?")
        rest = question + rest
    readers: dict[str, Callable[[str], Place]] = {
        "test": _test,
        "file": _file,
        "rtsp": _rtsp,
        "v4l2": _v4l2,
        "screen": _screen,
        "command": _command,
    }
    reader = readers.get(scheme)
    if reader is None or (not colon and scheme != "test"):
        raise UriError(f'"{shown(uri)}" is not a source; there are {", ".join(FORMS)}')
    return reader(rest)


def shown(uri: str) -> str:
    """What may stand in a log: no user, no password, no option of a camera, no argument of a command."""
    scheme, _, rest = uri.partition(":")
    if scheme == "command":
        program = rest.split(maxsplit=1)
        return f"command:{program[0]} ..." if len(program) > 1 else uri
    start, is_url, rest = uri.partition("://")
    if not is_url:
        return uri if scheme == "file" or "@" not in uri else f"***@{uri.rpartition('@')[2].partition('?')[0]}"
    authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]  # it matches every text
    path = rest[len(authority) :].partition("?")[0]
    if "@" in rest[len(authority) :] and ("@" in path or "@" not in authority):
        return f"{start}://***"  # a password with / or ? in it, perhaps
    host = authority.rpartition("@")[2]
    return f"{start}://{'***@' if host != authority else ''}{host}{path}"


def without_credentials(text: str) -> str:
    """`text`, such as a line that a program wrote, with the user and password of every URL hidden."""
    return _USER.sub("***@", text)


def _test(rest: str) -> Pattern:
    place, options = _options("the test pattern", rest, ("size", "fps"))
    if place:
        raise UriError(f'the test pattern has no "{place}"; it is test or test?size=640x360&fps=15')
    given = {"size": _one(options, "size", _size), "fps": _one(options, "fps", _fps)}
    return Pattern(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _file(rest: str) -> File:
    rest = rest.removeprefix("//") if rest.startswith("///") else rest
    place, transcode = rest, None
    if "?" in rest and not _exists(rest):  # a name may hold a question mark
        place, options = _options("a file", rest, ("transcode",))
        transcode = _one(options, "transcode", _yes)
    if not place or "\0" in place:
        raise UriError("file: needs the path of a media file, as in file:/srv/video.mp4")
    try:
        return File(Path(place).expanduser(), bool(transcode))
    except RuntimeError:
        raise UriError(f"file: there is no home for {place}; give the whole path, as in file:/srv/video.mp4") from None


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _rtsp(rest: str) -> Rtsp:
    try:
        url = urlsplit(f"rtsp:{rest}")
        is_address = bool(url.hostname) and url.port != 0
    except ValueError:
        url, is_address = SplitResult("", "", "", "", ""), False
    if not is_address or any(letter.isspace() or not letter.isprintable() for letter in rest):
        raise UriError("rtsp: needs the address of a camera, as in rtsp://192.168.1.20:554/stream1")
    transport = _taken(url, "transport")
    if transport not in (None, "tcp", "udp"):
        raise UriError(f'transport is tcp or udp, not "{transport}"')
    transcode = _taken(url, "transcode")
    return Rtsp(_camera_url(url), transport or "tcp", transcode is not None and _yes(transcode))


def _taken(url: SplitResult, name: str) -> str | None:
    return next((part[len(name) + 1 :] for part in url.query.split("&") if part.startswith(f"{name}=")), None)


def _camera_url(url: SplitResult) -> str:
    """The URL without our own options: all others are the camera's, in its order and spelling."""
    kept = [part for part in url.query.split("&") if part.partition("=")[0] not in ("transport", "transcode")]
    return urlunsplit(url._replace(query="&".join(kept)))


def _v4l2(rest: str) -> V4l2:
    place, options = _options("a V4L2 device", rest, ("size", "fps", "format", "transcode"))
    if not place.startswith("/") or "\0" in place:
        raise UriError("v4l2: needs a device, as in v4l2:/dev/video0")
    form = options.get("format")
    if form is not None and not _V4L2_FORMATS.fullmatch(form):
        raise UriError(f'format is a pixel format or codec of the device, as in format=mjpeg, not "{form}"')
    return V4l2(
        place,
        _one(options, "size", _size),
        _one(options, "fps", _fps),
        form,
        bool(_one(options, "transcode", _yes)),
    )


def _screen(rest: str) -> Screen:
    place, options = _options("a screen", rest, ("region", "fps", "cursor"))
    if place and (":" not in place or not place.isascii() or not place.isprintable() or "+" in place):
        raise UriError(f'"{place}" is not an X11 display; it is screen: for that of DISPLAY, or screen::0')
    region, fps = _one(options, "region", _region), _one(options, "fps", _fps)
    size, left, top = region or (None, 0, 0)
    cursor = _one(options, "cursor", _yes)
    return Screen(place, size, left, top, 30.0 if fps is None else fps, cursor is None or cursor)


def _command(rest: str) -> Command:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise UriError(f"the words after command: cannot be read: {str(error).lower()}") from None
    if not words or "\0" in rest:
        raise UriError("command: needs a program, as in command:rpicam-vid -t 0 --inline --profile baseline -o -")
    return Command(tuple(words))


def _options(owner: str, rest: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in known:
            has = " and ".join((", ".join(known[:-1]), known[-1])) if len(known) > 1 else known[0]
            raise UriError(f'{owner} has no option "{name}"; it has {has}')
    return place, options


def _one(options: dict[str, str], name: str, read: Callable[[str], T]) -> T | None:
    return read(options[name]) if name in options else None


def _size(text: str) -> Size:
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and len(side) <= 5 for side in sides):
        raise UriError(f'size is WIDTHxHEIGHT in pixels, as in size=640x360, not "{text}"')
    return Size(int(sides[0]), int(sides[1]))


def _region(text: str) -> tuple[Size, int, int]:
    match = _REGION.fullmatch(text.replace(" ", "+"))  # a query's + may have become a space
    if match is None:
        raise UriError(f'region is WIDTHxHEIGHT+LEFT+TOP in pixels, as in region=640x360+100+50, not "{text}"')
    width, height, left, top = (int(number or 0) for number in match.groups())
    if width < 16 or height < 16:
        raise UriError(f"a region needs at least 16x16 pixels, not {width}x{height}")
    return Size(width, height), left, top


def _fps(text: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not math.isfinite(fps):
        raise UriError(f'fps is frames per second, as in fps=15, not "{text}"')
    if not 1 <= fps <= FASTEST_FPS:
        raise UriError(f"fps is 1 to {FASTEST_FPS} frames per second, not {text}")
    return fps


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise UriError(f'yes or no is needed, not "{text}"')
    return text == "yes"
