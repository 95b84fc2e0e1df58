import os
import sys
import time
import wave
from pathlib import Path

import pytest

from media.control.talk import TICK_BYTES
from media.peer.speaker import FileSpeaker, ProgramSpeaker, SpeakerError, open_speaker

PIECE = bytes(range(256)) * (TICK_BYTES // 256) + bytes(TICK_BYTES % 256)
COPY = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"


def copier(path: Path) -> ProgramSpeaker:
    return ProgramSpeaker((sys.executable, "-c", COPY, str(path)), restart_s=0.0)


def test_a_file_is_whole_after_each_piece(tmp_path: Path) -> None:
    speaker = open_speaker(f"file:{tmp_path / 'said.wav'}")
    for count in (1, 2):
        speaker.write(PIECE)
        with wave.open(str(tmp_path / "said.wav"), "rb") as said:
            assert (said.getnchannels(), said.getsampwidth(), said.getframerate()) == (1, 2, 48000)
            assert said.readframes(48000) == PIECE * count
    speaker.close()
    speaker.close()


def test_a_full_disk_loses_sound_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = FileSpeaker(tmp_path / "said.wav")
    speaker.write(PIECE)
    plain = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset:
            raise OSError(28, "No space left on device")
        return plain(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    speaker.write(PIECE)
    monkeypatch.undo()
    speaker.write(PIECE)
    assert (speaker.stats.pieces, speaker.stats.dropped) == (2, 1)
    with wave.open(str(tmp_path / "said.wav"), "rb") as said:
        assert said.readframes(48000) == PIECE * 2
    speaker.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected alsa:DEVICE"),
        ("file:~nobody-of-this-name/a.wav", "there is no home for"),
        ("file:", "expected"),
        ("file:/nowhere/said.wav", "cannot be written: No such file"),
        ("command:", "expected"),
        ("command:'open", "not a program with arguments"),
        ("command:/nowhere/play now", "no program /nowhere/play"),
        ("pulse:x", "expected"),
    ],
)
def test_what_is_no_speaker_gets_a_sentence(text: str, words: str) -> None:
    with pytest.raises(SpeakerError, match=words):
        open_speaker(text)


@pytest.mark.slow
def test_a_program_gets_the_sound_and_may_end_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.peer.speaker._END_S", 60.0)  # however long Python takes to start
    speaker = copier(tmp_path / "said")
    for count in (1, 2):
        speaker.write(PIECE)
        speaker.rest()
        assert (tmp_path / "said").read_bytes() == PIECE
        assert speaker.stats.starts == count
    speaker.close()


@pytest.mark.slow
def test_a_program_that_takes_nothing_costs_its_sound_and_is_killed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media.peer.speaker._END_S", 0.1)
    hangs = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    speaker = ProgramSpeaker((sys.executable, "-c", hangs, str(tmp_path / "pid")))
    started = time.monotonic()
    for _ in range(20):
        speaker.write(PIECE)
    assert time.monotonic() - started < 30, "the program ends after a minute"
    assert speaker.stats.pieces <= 4
    assert speaker.stats.dropped >= 16
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    speaker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.slow
def test_a_program_of_another_user_that_takes_nothing_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(group: int, sign: int) -> None:
        raise PermissionError

    monkeypatch.setattr("media.peer.speaker._END_S", 0.05)
    monkeypatch.setattr(os, "killpg", refuse)
    speaker = ProgramSpeaker(("sleep", "60"))
    speaker.write(PIECE)
    process = speaker._process
    assert process is not None
    speaker.close()
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_program_that_dies_is_started_again_and_its_words_are_told(caplog: pytest.LogCaptureFixture) -> None:
    speaker = ProgramSpeaker((sys.executable, "-c", "raise SystemExit('no sound card')"), restart_s=0.0)
    while speaker.stats.failures < 2:
        speaker.write(PIECE)
        time.sleep(0.01)
    assert {getattr(record, "stderr", "") for record in caplog.records} == {"no sound card"}
    speaker.close()
