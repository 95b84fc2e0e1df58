"""An X11 display, or a part of it."""

from collections.abc import Callable, Iterator

import av
from av.container import InputContainer

from media.sources.fit import even_size
from media.sources.reader import pictures
from media.sources.source import Facts, Item, SetupError, SourceError
from media.sources.uri import Screen, Size

READ_S = 5.0


class ScreenStream:
    """An open display; see `live.Stream`. An odd width or height is cut to an even one.

    Raises: SetupError: the region is not on the screen; SourceError: there is no display, or it refuses us.
    """

    def __init__(self, place: Screen) -> None:
        # Two connections at once: a server without any other client starts anew after its last one.
        with _opened(place) as whole:
            video = whole.streams.video[0]
            size = place.size or Size(video.width, video.height)
            if place.left + size.width > video.width or place.top + size.height > video.height:
                wanted = f"{size}+{place.left}+{place.top}"
                raise SetupError(f"region {wanted} does not lie on the screen, which is {video.width}x{video.height}")
            width, height = even_size(size.width, size.height, "the region" if place.size else "the screen")
            self._container = _opened(place, Size(width, height))
        self.facts = Facts(width, height, place.fps, note="screen, encoded")

    def items(self, wanted: Facts, elapsed: Callable[[], float]) -> Iterator[Item]:
        """Pictures; see `live.Stream`."""
        try:
            video = self._container.streams.video[0]
            yield from pictures(self._container.demux(video), video, wanted, elapsed)
        except (av.FFmpegError, OSError) as error:
            raise SourceError("the display is gone") from error

    def close(self) -> None:
        """Leave the display."""
        self._container.close()

    def abort(self) -> None:
        """Not needed: the next picture comes soon."""


def _opened(place: Screen, size: Size | None = None) -> InputContainer:
    options = {"framerate": f"{place.fps:g}", "draw_mouse": str(int(place.cursor)), "probesize": "32"}
    if size is not None:
        options |= {"video_size": str(size), "grab_x": str(place.left), "grab_y": str(place.top)}
    try:
        return av.open(place.display, format="x11grab", options=options, timeout=(None, READ_S))
    except (av.FFmpegError, OSError, ValueError) as error:
        name = f"display {place.display}" if place.display else "the display of DISPLAY"
        raise SourceError(
            f"{name} cannot be opened: is an X server there, and may this user use it (XAUTHORITY)?"
        ) from error
