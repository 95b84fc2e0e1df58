"""URI -> source."""

from pathlib import Path

import pytest

from media.sources.file import FileSource
from media.sources.live import LiveSource
from media.sources.open import open_source
from media.sources.pattern import PatternSource
from media.sources.source import SourceError
from tests.media.pictures import write_clip
from tests.media.sources.clips import write_h264


@pytest.mark.parametrize("uri", ["test", "test:", "test?", "test:?fps=30"])
def test_pattern_is_720p30_by_default(uri: str) -> None:
    source = open_source(uri)
    assert isinstance(source, PatternSource)
    assert (source.width, source.height, source.fps) == (1280, 720, 30.0)


def test_pattern_takes_size_and_rate() -> None:
    source = open_source("test?size=640x360&fps=12.5")
    assert (source.width, source.height, source.fps) == (640, 360, 12.5)


@pytest.mark.parametrize("form", ["file:{}", "file://{}"])
def test_file_is_opened_by_its_path(form: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a clip?.mp4", pictures=2)
    assert isinstance(open_source(form.format(path)), FileSource)


def test_file_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", pictures=2)
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source("file:clip.mp4"), FileSource)


AWAY = [
    ("rtsp://127.0.0.1:9/x", (1280, 720), 30),
    ("v4l2:/dev/video99?size=641x480&fps=15", (640, 480), 15),
    ("screen::4242?region=321x200", (320, 200), 30),
    ("command:false", (1280, 720), 30),
]


def test_what_is_not_there_yet_keeps_nobody_from_starting() -> None:
    for uri, size, fps in AWAY:
        source = open_source(uri)
        assert isinstance(source, LiveSource)
        assert ((source.width, source.height), source.fps) == (size, fps)
        assert source.has_audio is uri.startswith("rtsp")


def test_options_of_a_file_come_after_its_name(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "clip.mp4", pictures=2)
    assert open_source(f"file:{path}").passes
    assert not open_source(f"file:{path}?transcode=yes").passes


WRONG = [
    ("", "there are test, file:PATH, rtsp://"),
    ("http://camera/1", "is not a source"),
    ("rtsp://camera/1?transport=http", "tcp or udp"),
    ("command:no-such-program -x", 'the program "no-such-program" is not there'),
    ("v4l2:/dev/null", "no V4L2 capture device"),
    ("testing", "is not a source"),
    ("file:", "needs the path"),
    ("file:a\0b", "needs the path"),
    ("file:/nowhere/clip.mp4", "does not exist"),
    ("test?size=640", "WIDTHxHEIGHT"),
    ("test?size=640x360x2", "WIDTHxHEIGHT"),
    ("test?size=-640x360", "WIDTHxHEIGHT"),
    ("test?size=999999x360", "WIDTHxHEIGHT"),
    ("test?size=", "WIDTHxHEIGHT"),
    ("test?fps=fast", "frames per second"),
    ("test?fps=inf", "frames per second"),
    ("test?fps=0", "1 to 120"),
    ("test?colour=red", 'no option "colour"; it has size and fps'),
]


def test_wrong_uri_is_refused_by_a_sentence() -> None:
    for uri, sentence in WRONG:
        with pytest.raises(SourceError, match=sentence):
            open_source(uri)
