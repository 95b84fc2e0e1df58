"""Real heliograph processes for tests: on free ports, in a folder of their own, ended by their own handle."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

FREE_PORTS = ("--http-port", "0", "--turn-port", "0", "--ops-port", "0")
READY_LIMIT_S = 60.0  # above the 30 s after which a command says itself which part was not ready
STOP_LIMIT_S = 10.0


def environment(home: Path) -> dict[str, str]:
    """This process's environment without settings of the service, with a private HOME."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    return {**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


@contextmanager
def running(command: str, *arguments: str, home: Path) -> Iterator[dict[str, Any]]:
    """Run `heliograph COMMAND --json` until the block ends; gives its ready line, with `log` the path of its log."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"{command}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", command, "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(home),
        )
        try:
            yield {**_ready(process, log), "log": str(log), "pid": process.pid}
        finally:
            _stop(process)


def heliograph(*arguments: str, home: Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> dict[str, Any]:
    stream: IO[bytes] | None = process.stdout
    assert stream is not None
    os.set_blocking(stream.fileno(), False)
    line = b""
    deadline = time.monotonic() + READY_LIMIT_S
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            chunk = stream.read() if left_s > 0 and selector.select(left_s) else b""
            assert chunk, f"no ready line; the log says:\n{log.read_text()[-4000:]}"
            line += chunk
    ready: dict[str, Any] = json.loads(line)
    return ready


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
