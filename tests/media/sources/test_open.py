"""URI -> source."""

from pathlib import Path

import pytest

from media.sources.file import FileSource
from media.sources.open import open_source
from media.sources.pattern import PatternSource
from media.sources.source import SourceError
from tests.media.pictures import write_clip


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


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("", "there are test, file:PATH, rtsp://"),
        ("http://camera/1", "is not a source"),
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
    ],
)
def test_wrong_uri_is_refused_by_a_sentence(uri: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        open_source(uri)
