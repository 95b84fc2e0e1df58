"""Programs that write H.264 to their standard output: small ones in Python and the shell."""

import logging
import shlex
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from media.encoders.encoder import Codec
from media.sources import command, uri
from media.sources.command import CommandStream, check_program
from media.sources.open import open_source
from media.sources.source import EncodedPicture, Item, Picture, SetupError, SourceError
from tests.media.descriptors import crowded
from tests.media.pictures import at_once
from tests.media.sources.clips import shades, write_h264
from tests.running import ends_within

pytestmark = pytest.mark.slow
SECRET = "hunter2"
WRITER = """
import sys, time
data = open(sys.argv[1], "rb").read()
print("a line", file=sys.stderr, flush=True)
while True:
    for start in range(0, len(data), 700):
        sys.stdout.buffer.write(data[start:start + 700])
        sys.stdout.buffer.flush()
        time.sleep(0.005)
    if len(sys.argv) > 2:
        print(sys.argv[2], file=sys.stderr)
        sys.exit(3)
"""


def place(*words: str) -> uri.Command:
    parsed = uri.parse("command:" + shlex.join(words))
    assert isinstance(parsed, uri.Command)
    return parsed


def writer(path: Path, *more: str) -> uri.Command:
    return place(sys.executable, "-c", WRITER, str(path), *more)


def read(stream: CommandStream, count: int) -> list[Item]:
    start = time.monotonic()
    return list(islice(stream.items(stream.facts, lambda: time.monotonic() - start), count))


def test_baseline_is_passed_on_as_it_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream = CommandStream(writer(write_h264(tmp_path / "a.h264")))
    got = read(stream, 35)
    stream.close()
    assert (stream.facts.width, stream.facts.height, stream.facts.passes) == (160, 90, {Codec.H264})
    assert [item.is_key for item in got if isinstance(item, EncodedPicture)] == [n % 10 == 0 for n in range(35)]
    assert len(shades(got)) == 35
    assert [record.__dict__["line"] for record in caplog.records if record.message == "program says"] == ["a line"]


def test_programs_can_be_read_beside_hundreds_of_viewers(tmp_path: Path) -> None:
    program = writer(write_h264(tmp_path / "a.h264"))
    with crowded():
        stream = CommandStream(program)
        got = read(stream, 12)
        stream.close()
    assert len(got) == 12


def test_other_profile_is_decoded(tmp_path: Path) -> None:
    stream = CommandStream(writer(write_h264(tmp_path / "a.h264", profile="main")))
    got = read(stream, 5)
    stream.close()
    assert {type(item) for item in got} == {Picture}


def test_end_of_the_program_is_told_with_its_last_words(tmp_path: Path) -> None:
    stream = CommandStream(writer(write_h264(tmp_path / "a.h264"), f"rtsp://a:{SECRET}@cam is off"))
    with pytest.raises(SourceError, match=r"ended with exit code 3: rtsp://\*\*\*@cam is off"):
        read(stream, 1000)
    stream.close()
    with pytest.raises(SourceError, match=r"ended with exit code 7: no sensor"):
        CommandStream(place("sh", "-c", "echo no sensor >&2; exit 7"))


def test_whole_process_group_ends(tmp_path: Path) -> None:
    path, pids = write_h264(tmp_path / "a.h264"), tmp_path / "pids"
    script = f"trap '' TERM; sleep 100 & echo $! $$ > {pids}; while true; do cat {path}; sleep 0.05; done"
    stream = CommandStream(place("sh", "-c", script))
    assert len(read(stream, 3)) == 3
    child, leader = map(int, pids.read_text().split())
    stream.close()
    assert ends_within(child, 15), "it was to sleep for 100 s"
    assert ends_within(leader, 15)


def test_abort_ends_reading(tmp_path: Path) -> None:
    stream = CommandStream(writer(write_h264(tmp_path / "a.h264")))
    read(stream, 3)
    stream.abort()
    with pytest.raises(SourceError, match="signal 15"):
        read(stream, 1000)
    stream.close()


def test_what_is_no_h264_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LARGEST_PICTURE", 300_000)
    with pytest.raises(SourceError, match=r"no H\.264 in Annex-B"):
        CommandStream(place("yes", "no picture here"))
    monkeypatch.setattr(command, "OPEN_S", 0.2)
    with pytest.raises(SourceError, match=r"gave no picture for 0\.2 s"):
        CommandStream(place("sleep", "100"))


def test_log_takes_few_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script = f"for n in $(seq 500); do echo $n$(seq 300) >&2; done; cat {write_h264(tmp_path / 'a.h264')}"
    stream = CommandStream(place("sh", "-c", script))
    stream.close()
    lines = [record.__dict__["line"] for record in caplog.records if record.message == "program says"]
    assert len(lines) == command.LINES
    assert max(map(len, lines)) <= command.LINE_BYTES


def test_program_that_cannot_be_run_is_the_operators_mistake(tmp_path: Path) -> None:
    script = tmp_path / "camera"
    script.write_text("no program")
    for words, sentence in (("nothing-like-it", "is not there"), (str(script), "may not be run")):
        with pytest.raises(SetupError, match=sentence):
            check_program(place(words))
    script.chmod(0o755)
    check_program(place(str(script)))
    with pytest.raises(SetupError, match="cannot be run: Exec format error"):
        CommandStream(place(str(script)))


def test_program_is_started_again_after_its_end(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "a.h264")
    source = open_source("command:" + shlex.join(["cat", str(path)]))
    assert source.passes == {Codec.H264}
    for _ in range(2):
        playing = source.frames(at_once)
        with pytest.raises(SourceError, match="ended with exit code 0"):
            assert len(list(playing)) >= 1
