"""Starts `heliograph serve` and `heliograph demo` as a person would, for tests of the whole."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-P", "-m", "app")
ANY_PORTS = ("--http-port", "0", "--turn-port", "0", "--ops-port", "0")


class Started:
    """A running command, its ready line and its processes."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready

    def children(self) -> dict[str, int]:
        """Return the process ids of the parts by name."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        return {_words(pid)[4]: pid for pid in pids}

    def stop(self, number: int = signal.SIGTERM, limit_s: float = 5.0) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(limit_s), time.monotonic() - started

    def environment(self) -> dict[str, str]:
        """Return what `channel`, `viewer` and `master` need to speak to a demo."""
        return {"HELIOGRAPH_ENDPOINT": self.ready["http"], "HELIOGRAPH_TOKEN": self.ready["token"]}


def _words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@contextlib.contextmanager
def started(*words: str, ports: tuple[str, ...] = ANY_PORTS, stderr: int | None = None) -> Iterator[Started]:
    """Run a command with `--json` until its ready line; end it when the block ends."""
    command = [*COMMAND, *words, "--json", *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=clean()) as process:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], 15)
        line = process.stdout.readline() if readable else ""
        assert line, f"{' '.join(command)} was not ready in time"
        try:
            yield Started(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(5)


def clean() -> dict[str, str]:
    """Return the environment without settings of this project."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}


def ends_within(pid: int, limit_s: float) -> bool:
    """Wait for a process that is not ours; whether it ended in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    readable, _, _ = select.select([descriptor], [], [], limit_s)
    os.close(descriptor)
    return bool(readable)
