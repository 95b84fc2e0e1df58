"""A program that writes H.264 in Annex-B to its standard output: rpicam-vid, ffmpeg, gst-launch, or your own."""

import logging
import os
import select
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO

import av

from media.encoders.encoder import Codec
from media.h264 import ParameterSets, is_key
from media.sources.fit import Fit, even_size
from media.sources.live import OPEN_S
from media.sources.passing import verdict
from media.sources.source import EncodedPicture, Facts, Item, Picture, SetupError, SourceError
from media.sources.uri import Command, without_credentials

_log = logging.getLogger(__name__)

USUAL_FPS = 30.0
READ_BYTES = 65_536
LARGEST_PICTURE = 8 * 1024 * 1024
"""So much without a picture is no H.264."""
END_S = 0.5
"""How long the program may take to end before it is killed."""
LINE_BYTES = 300
LINES, LINES_S = 20, 10.0
"""The log takes 20 lines of the program in 10 s, each cut at 300 bytes; the others are counted."""
_POLL_S = 0.1


def check_program(place: Command) -> None:
    """Look whether the program is there. Raises: SetupError."""
    program = place.words[0]
    if shutil.which(program) is None:
        found = "may not be run" if os.path.exists(program) else "is not there"  # noqa: PTH110  it is no path of ours
        raise SetupError(f'the program "{program}" {found}')


class CommandStream:
    """A program that runs, in a process group of its own; see `live.Stream`.

    Its pictures have the times at which they came. A picture is known to be complete when the next one begins.
    Raises: SetupError: it cannot be run; SourceError: it ended, or gave no H.264.
    """

    def __init__(self, place: Command) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603  the operator's own command, without a shell
                place.words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(
                f'the program "{place.words[0]}" cannot be run: {os.strerror(error.errno or 0)}'
            ) from error
        # also at the end of the interpreter, when threads are simply gone
        self._killed = weakref.finalize(self, _end, self._process)
        assert self._process.stdout is not None  # noqa: S101  PIPE
        assert self._process.stderr is not None  # noqa: S101  PIPE
        self._output = self._process.stdout
        self._last_words = _LastWords(self._process.stderr)
        self._parser = av.CodecContext.create("h264", "r")
        self._sets = ParameterSets()
        self._looked_at: list[bytes] = []
        try:
            self.facts = self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> Facts:
        """Read until the size is known; what was read is played later."""
        until = time.monotonic() + OPEN_S
        for unit in self._units(until):
            self._looked_at.append(unit)
            self._sets.complete(unit)
            if self._sets.sps is not None:
                break
        sps = self._sets.sps
        if sps is None:
            raise SourceError(f"the program {self._reason('ended without a picture')}")
        width, height = even_size(sps.width, sps.height, "the program's picture")
        is_passed, note = verdict(self._sets)
        passes = frozenset((Codec.H264,)) if is_passed else frozenset()
        return Facts(width, height, sps.fps or USUAL_FPS, passes=passes, note=note)

    def _units(self, until: float | None = None) -> Iterator[bytes]:
        """Access units, as long as the program writes. Raises: SourceError: it writes no H.264, or nothing in time."""
        waiting = 0
        while (data := self._read(until)) != b"":
            waiting += len(data)
            for packet in self._parser.parse(data):
                waiting = 0
                yield bytes(packet)
            if waiting > LARGEST_PICTURE:
                raise SourceError("what the program writes to its standard output is no H.264 in Annex-B")

    def _read(self, until: float | None) -> bytes:
        descriptor = self._output.fileno()
        waiting = select.poll()  # select.select knows no descriptor above 1,023, and viewers take many
        waiting.register(descriptor, select.POLLIN)
        while until is not None and not waiting.poll(_POLL_S * 1000):
            if time.monotonic() > until:
                raise SourceError(f"the program gave no picture for {OPEN_S:g} s")
        try:
            return os.read(descriptor, READ_BYTES)
        except (OSError, ValueError):  # closed by `abort`
            return b""

    def items(self, wanted: Facts, elapsed: Callable[[], float]) -> Iterator[Item]:
        """Pictures; see `live.Stream`."""
        read = self._passed if Codec.H264 in wanted.passes else _Decoded(wanted).items
        for unit in chain(self._looked_at, self._units()):
            yield from read(unit, elapsed())
        raise SourceError(f"the program {self._reason('closed its output')}")

    def _passed(self, unit: bytes, time_s: float) -> Iterator[Item]:
        complete = self._sets.complete(unit)
        if complete is not None:
            yield EncodedPicture(Codec.H264, complete, is_key(complete), time_s)

    def _reason(self, otherwise: str) -> str:
        try:
            code = self._process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            return otherwise
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {self._last_words.text}" if self._last_words.text else how

    def close(self) -> None:
        """End the program and all that it started."""
        self._killed()
        self._last_words.join()
        self._output.close()

    def abort(self) -> None:
        """End the program, so that its output ends."""
        self._killed()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process group: first politely, then for good."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except (ProcessLookupError, PermissionError):  # nobody is left
            break
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


class _Decoded:
    def __init__(self, wanted: Facts) -> None:
        context = av.CodecContext.create("h264", "r")
        assert isinstance(context, av.VideoCodecContext)  # noqa: S101  by its name
        self._decoder = context
        self._fit = Fit(wanted.width, wanted.height)
        self._has_begun = False

    def items(self, unit: bytes, time_s: float) -> Iterator[Item]:
        self._has_begun = self._has_begun or is_key(unit)
        if not self._has_begun:
            return
        try:
            frames = self._decoder.decode(av.Packet(unit))
        except av.InvalidDataError:
            return  # a damaged picture costs itself, no more
        for frame in frames:
            yield Picture(self._fit(frame), time_s)


class _LastWords:
    """Reads what the program complains of: into the log, bounded, and the last line for the reason of its end."""

    def __init__(self, errors: IO[bytes]) -> None:
        self._errors = errors
        self._lines: deque[str] = deque(maxlen=1)
        self._thread = threading.Thread(target=self._read, name="stderr", daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """The last line that says something."""
        self._thread.join(_POLL_S)
        return self._lines[0] if self._lines else ""

    def join(self) -> None:
        """Wait for the end of the output, which comes with that of the program."""
        self._thread.join(END_S)

    def _read(self) -> None:
        began, count, left_out = time.monotonic(), 0, 0
        with self._errors:
            while line := self._errors.readline(LINE_BYTES):
                # of what overwrites itself, such as progress, the last
                text = without_credentials(line.decode("utf-8", "replace").strip().rpartition("\r")[2])
                if not text:
                    continue
                self._lines.append(text)
                if time.monotonic() - began > LINES_S:
                    began, count = time.monotonic(), 0
                count += 1
                if count <= LINES:
                    _log.info("program says", extra={"line": text, "left_out": left_out})
                    left_out = 0
                else:
                    left_out += 1
