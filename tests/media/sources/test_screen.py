"""A real X server without a screen."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from media.sources import uri
from media.sources.screen import ScreenStream
from media.sources.source import Picture, SetupError, SourceError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed"),
]


@pytest.fixture
def display() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A screen of 321x201."""
    words = ["Xvfb", "-noreset", "-displayfd", "1", "-screen", "0", "321x201x24", "-nolisten", "tcp"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield f":{server.stdout.readline().decode().strip()}", server
        finally:
            server.kill()


def opened(text: str) -> ScreenStream:
    place = uri.parse(text)
    assert isinstance(place, uri.Screen)
    return ScreenStream(place)


def pictures(stream: ScreenStream, count: int) -> list[Picture]:
    start = time.monotonic()
    items = stream.items(stream.facts, lambda: time.monotonic() - start)
    return [item for item in islice(items, count) if isinstance(item, Picture)]


def test_whole_screen_is_cut_to_an_even_size(display: tuple[str, subprocess.Popen[bytes]]) -> None:
    stream = opened(f"screen:{display[0]}?fps=50")
    got = pictures(stream, 10)
    stream.close()
    assert (stream.facts.width, stream.facts.height, stream.facts.fps) == (320, 200, 50)
    assert {(picture.frame.width, picture.frame.height, picture.frame.format.name) for picture in got} == {
        (320, 200, "yuv420p")
    }
    assert got[-1].time_s - got[0].time_s > 0.1


def test_region_is_that_part(display: tuple[str, subprocess.Popen[bytes]]) -> None:
    stream = opened(f"screen:{display[0]}?region=101x64+220+137&cursor=no")
    (picture,) = pictures(stream, 1)
    stream.close()
    assert (picture.frame.width, picture.frame.height) == (100, 64)
    with pytest.raises(SetupError, match=r"region 101x64\+221\+137 does not lie on the screen, which is 321x201"):
        opened(f"screen:{display[0]}?region=101x64+221+137")


def test_display_that_is_not_there_is_told_and_one_that_goes_is_dead(
    display: tuple[str, subprocess.Popen[bytes]],
) -> None:
    with pytest.raises(SourceError, match="display :4242 cannot be opened"):
        opened("screen::4242")
    stream = opened(f"screen:{display[0]}")
    display[1].kill()
    display[1].wait()
    with pytest.raises(SourceError, match="the display is gone"):
        pictures(stream, 100)
    stream.close()
