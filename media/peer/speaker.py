"""Where talk-back goes: an ALSA device, a WAV file or a program. Used by one thread; `write` never waits long.

Sound is mono s16 at 48 kHz in pieces of 20 ms.
"""

import contextlib
import fcntl
import logging
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from struct import pack
from typing import Protocol

import msgspec

from media.control.talk import RATE_HZ, SAMPLE_BYTES

_log = logging.getLogger(__name__)

_FILE_LIMIT_BYTES = 2**31
_PIPE_BYTES = 4096
"""Two pieces of sound: what waits in a pipe is latency."""
_STDERR_BYTES = 400
_END_S = 2.0
_RESTART_S = 1.0
_APLAY = ("aplay", "-q", "-t", "raw", "-f", "S16_LE", "-r", str(RATE_HZ), "-c", "1", "--buffer-time=100000", "-D")


class SpeakerError(Exception):
    """There is no such speaker; the text is a sentence for the operator."""


class SpeakerStats(msgspec.Struct):
    """Counters: pieces that went out, pieces that were not taken in time, starts of the program and its failures."""

    pieces: int = 0
    dropped: int = 0
    starts: int = 0
    failures: int = 0


class Speaker(Protocol):
    """Takes sound. `linger_s` is how long silence is written on when nobody talks any more."""

    linger_s: float
    stats: SpeakerStats

    def write(self, piece: bytes) -> None:
        """Play 20 ms; a piece that is not taken at once is dropped and counted."""

    def rest(self) -> None:
        """Nobody talks: give devices free; `write` opens them again."""

    def close(self) -> None:
        """The end; idempotent."""


def open_speaker(text: str) -> Speaker:
    """Open `alsa:DEVICE`, `file:PATH.wav` or `command:PROGRAM ARGUMENTS`. Raises: SpeakerError."""
    kind, _, rest = text.partition(":")
    match kind, rest.strip():
        case "file", path if path:
            try:
                return FileSpeaker(Path(path).expanduser())
            except RuntimeError:
                raise SpeakerError(f"there is no home for {path}; give the whole path") from None
        case "alsa", device if device:
            if shutil.which(_APLAY[0]) is None:
                raise SpeakerError("there is no program aplay; install alsa-utils")
            return ProgramSpeaker((*_APLAY, device))
        case "command", command if command:
            return ProgramSpeaker(_words(command))
    raise SpeakerError("expected alsa:DEVICE, file:PATH or command:PROGRAM ARGUMENTS")


def _words(command: str) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SpeakerError(f"{command} is not a program with arguments: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise SpeakerError(f"there is no program {words[0] if words else command}")
    return tuple(words)


class FileSpeaker:
    """A WAV file, written anew; it is whole after each piece. It holds what was said, without the time between."""

    linger_s = 1.0

    def __init__(self, path: Path) -> None:
        self.stats = SpeakerStats()
        self._path = path
        self._bytes = 0
        try:
            self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            os.pwrite(self._descriptor, _header(0), 0)
        except OSError as error:
            raise SpeakerError(f"{path} cannot be written: {error.strerror}") from None

    def write(self, piece: bytes) -> None:
        """Append 20 ms; a file of 2 GiB is full."""
        if self._descriptor is None or self._bytes >= _FILE_LIMIT_BYTES:
            self.stats.dropped += 1
            return
        try:
            if os.pwrite(self._descriptor, piece, len(_header(0)) + self._bytes) == len(piece):
                self._bytes += len(piece)
                self.stats.pieces += 1
                os.pwrite(self._descriptor, _header(self._bytes), 0)
                return
            reason = "it was not taken whole"
        except OSError as error:
            reason = str(error.strerror)
        if not self.stats.failures:
            _log.warning("talk-back not written", extra={"path": str(self._path), "reason": reason})
        self.stats.failures += 1
        self.stats.dropped += 1

    def rest(self) -> None:
        """Nothing is held that others want."""

    def close(self) -> None:
        """Close the file; idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _header(size: int) -> bytes:
    """RIFF, its format (PCM, mono, 16 bit) and the size of the sound in bytes."""
    form = pack("<4sLHHLLHH", b"fmt ", 16, 1, 1, RATE_HZ, RATE_HZ * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    return pack("<4sL4s", b"RIFF", 36 + size, b"WAVE") + form + pack("<4sL", b"data", size)


class ProgramSpeaker:
    """A program that takes raw sound on its standard input; started when somebody talks, again when it dies."""

    linger_s = 5.0

    def __init__(self, words: Sequence[str], restart_s: float = _RESTART_S) -> None:
        self.stats = SpeakerStats()
        self._words = tuple(words)
        self._restart_s = restart_s
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._start_at = 0.0

    def write(self, piece: bytes) -> None:
        """Hand over 20 ms; dropped while the program is behind or not there."""
        process = self._process or self._start()
        if process is None or process.stdin is None:
            self.stats.dropped += 1
            return
        self._listen(process)
        try:
            os.write(process.stdin.fileno(), piece)  # at most PIPE_BUF: whole or not at all (pipe(7))
        except BlockingIOError:
            self.stats.dropped += 1
        except OSError:
            self.stats.dropped += 1
            self._ended(process)
        else:
            self.stats.pieces += 1

    def rest(self) -> None:
        """Let the program end: its input is over, and after 2 s it and its children are killed."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        self._reap(process)

    def close(self) -> None:
        """As `rest`."""
        self.rest()

    def _start(self) -> "subprocess.Popen[bytes] | None":
        now = time.monotonic()
        if now < self._start_at:
            return None
        self._start_at = now + self._restart_s
        self.stats.starts += 1
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own words, no shell
                self._words, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, bufsize=0, start_new_session=True
            )
        except OSError as error:
            self.stats.failures += 1
            _log.warning("talk-back program does not start", extra={"reason": error.strerror})
            return None
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(process.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._process = process
        self._said = b""
        return process

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stderr is not None:
            with contextlib.suppress(OSError):
                self._said = (self._said + os.read(process.stderr.fileno(), 4096))[-_STDERR_BYTES:]

    def _ended(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = None
        self._listen(process)
        self._reap(process)
        self.stats.failures += 1
        said = self._said.decode("utf-8", "replace").strip()
        _log.warning("talk-back program ended", extra={"code": process.returncode, "stderr": said})

    def _reap(self, process: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # by sudo it is somebody else's
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        for stream in (process.stdin, process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
