"""Real heliograph processes for tests: on free ports, without this machine's settings, ended by their own handle."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

COMMAND = (sys.executable, "-P", "-m", "app")
FREE_PORTS = ("--http-port", "0", "--turn-port", "0", "--ops-port", "0")
READY_LIMIT_S = 60.0  # above the 30 s after which a command says itself which part was not ready
STOP_LIMIT_S = 60.0


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

    def stop(self, number: int = signal.SIGTERM, limit_s: float = STOP_LIMIT_S) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(limit_s), time.monotonic() - started

    def variables(self) -> dict[str, str]:
        """Return what `channel`, `viewer` and `master` need to speak to a demo."""
        return {"HELIOGRAPH_ENDPOINT": self.ready["http"], "HELIOGRAPH_TOKEN": self.ready["token"]}


def _words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def environment(home: Path | None = None) -> dict[str, str]:
    """This process's environment without settings of the service; with a private HOME where one is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    return kept if home is None else {**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


def _why_not_ready(process: subprocess.Popen[str], stderr: int | IO[bytes] | None) -> str:
    """What is known of a command without a ready line: how it ended, and its last words where they went to a file."""
    if process.stdout is None or not select.select([process.stdout], [], [], 0)[0]:
        return "was not ready in time"
    code = process.wait(STOP_LIMIT_S)  # its output is at an end
    said = "" if stderr is None or isinstance(stderr, int) else Path(stderr.name).read_text(errors="replace")
    return f"ended with {code} before it was ready: {said[-1000:]}"


@contextlib.contextmanager
def started(
    *words: str,
    ports: tuple[str, ...] = FREE_PORTS,
    stderr: int | IO[bytes] | None = None,
    home: Path | None = None,
    within: Sequence[str] = (),
) -> Iterator[Started]:
    """Run a command with `--json` until its ready line; end it when the block ends.

    `within` are the words before it, of a program that puts itself in its place (`ip netns exec NAME`).
    """
    command = [*within, *COMMAND, *words, "--json", *ports]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(home)
    ) as process:
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], READY_LIMIT_S)
            line = process.stdout.readline() if readable else ""
            assert line, f"{' '.join(command)} {_why_not_ready(process, stderr)}"
            yield Started(process, json.loads(line))
        finally:
            _end(process)


@contextlib.contextmanager
def running(command: str, *arguments: str, home: Path) -> Iterator[dict[str, Any]]:
    """Run `heliograph COMMAND --json` in a private HOME until the block ends.

    Gives its ready line, with `log` the path of its log and `pid` its process.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"{command}.log"
    with log.open("wb") as errors, started(command, *arguments, ports=(), stderr=errors, home=home) as service:
        yield {**service.ready, "log": str(log), "pid": service.process.pid}


def heliograph(
    *arguments: str,
    home: Path | None = None,
    variables: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    within: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line to its end; `within` as in `started`."""
    return subprocess.run(
        [*within, *COMMAND, *arguments],
        env={**environment(home), **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def ends_within(pid: int, limit_s: float) -> bool:
    """Wait for a process that is not ours; whether it ended in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    readable, _, _ = select.select([descriptor], [], [], limit_s)
    os.close(descriptor)
    return bool(readable)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
