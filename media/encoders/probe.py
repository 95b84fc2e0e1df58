"""Tries encoders in processes of their own, one each: a driver that crashes or hangs costs no more than its row."""

import contextlib
import enum
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO

import msgspec

from media.encoders import choose, trial
from media.encoders.backends import BY_NAME, Backend
from media.encoders.cache import Cache
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step
from media.encoders.machine import Machine

LIMIT_S = 20.0
"""For one encoder."""
LEAST_S = 10.0
"""With less time than this none is tried: a machine under load would seem to hang."""
ORPHAN_S = 60
"""After this a child that nobody waits for ends itself."""
KILL_S = 2.0
TAIL_BYTES = 2000


class Mode(enum.Enum):
    """What to take from the cache: all that is known, what works, or nothing."""

    REMEMBER = "remember"
    RETRY = "retry"
    REFRESH = "refresh"


_decoder = msgspec.json.Decoder(Finding)


class Probe:
    """Knows the encoders of this machine: from the cache, else by trying them one after the other."""

    def __init__(self, cache: Cache, try_one: Callable[[str, float], Finding] | None = None) -> None:
        self._cache = cache
        self._try_one = try_one or probe_one

    def find(
        self,
        backends: Iterable[Backend],
        mode: Mode = Mode.REMEMBER,
        announce: Callable[[Backend], None] = lambda _: None,
        budget_s: float = float("inf"),
    ) -> Iterator[Finding]:
        """Findings in order; `announce` is told of each encoder that is tried now.

        With a budget those are left out for which too little of it is left; they are tried the next time.
        """
        ends_at = time.monotonic() + budget_s
        fingerprint = Machine().fingerprint()
        known = {} if mode is Mode.REFRESH else self._cache.load(fingerprint)
        is_new = False
        try:
            for backend in backends:
                found = known.get(backend.name)
                if found is None or not found.is_known(time.time(), mode is Mode.RETRY):
                    left_s = ends_at - time.monotonic()
                    if left_s < LEAST_S:
                        continue
                    announce(backend)
                    found = known[backend.name] = self._try_one(backend.name, min(left_s, LIMIT_S))
                    is_new = True
                yield found
        finally:
            if is_new:
                self._cache.store(fingerprint, known.values())


def probe_one(name: str, limit_s: float = LIMIT_S, module: str = __name__) -> Finding:
    """Try one encoder in a process of its own, which is killed with all it started after `limit_s`."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as noise:
        child = subprocess.Popen(  # noqa: S603
            (sys.executable, "-P", "-m", module, name),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=noise,
            start_new_session=True,
        )
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
        found = _last(said, name)
        if code is None:
            return _cut_short(found, FailureClass.TIMED_OUT, f"no end after {limit_s:g} s while {found.step.value}")
        if code != 0 or (found.step is not Step.DONE and found.failure is None):
            line = f"{_exit_words(code)} while {found.step.value}{_tail(noise)}"
            return _cut_short(found, FailureClass.CRASHED, line)
        return found


def _end(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # its own session: nothing else is in this group
    with contextlib.suppress(subprocess.TimeoutExpired):  # a driver that hangs in the kernel does not let it go
        child.wait(KILL_S)


def _last(said: IO[bytes], name: str) -> Finding:
    """The last whole line that the child wrote."""
    said.seek(0)
    found = Finding(name=name, probed_at=time.time())
    for line in said.read().splitlines():
        try:
            found = _decoder.decode(line)
        except ValueError:
            continue
    return found


def _cut_short(found: Finding, kind: FailureClass, line: str) -> Finding:
    return msgspec.structs.replace(found, failure=kind, line=line)


def _exit_words(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"ended by {signal.Signals(-code).name}"


def _tail(noise: IO[bytes]) -> str:
    size = noise.seek(0, os.SEEK_END)
    noise.seek(max(size - TAIL_BYTES, 0))
    lines = noise.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


def _say_to(file: IO[bytes]) -> Callable[[Finding], None]:
    def say(found: Finding) -> None:
        file.write(msgspec.json.encode(found) + b"\n")
        file.flush()

    return say


def main(name: str) -> None:
    """Be the child: try one encoder and write what is known so far to stdout, a line each."""
    signal.alarm(ORPHAN_S)
    with os.fdopen(os.dup(1), "wb") as lines:
        os.dup2(2, 1)  # libraries print where they like
        trial.run(BY_NAME[name], choose.Chains().open, _say_to(lines))


if __name__ == "__main__":
    main(sys.argv[1])
