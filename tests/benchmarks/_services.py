"""What benchmarks start beside the service: keys that are there before it, and the programs it is compared with."""

import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.exits import CommandError, Exit
from channels.auth import token
from channels.auth.token import TokenKey
from tests.benchmarks._connects import Server
from tests.interop import node as packages

ROOT = Path(__file__).parent.parent.parent


def make_keys(folder: Path) -> dict[str, TokenKey]:
    """Write a key of each algorithm to where the service looks for its own."""
    for path in reversed((folder, *folder.parents[:2])):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    elliptic = token.new_es256_key()
    shared = token.secret_key("bench-shared", secrets.token_hex(32).encode())
    for key, suffix in ((elliptic, "pem"), (shared, "secret")):
        path = folder / f"{key.kid}.{suffix}"
        path.touch(0o600)
        path.write_bytes(key.private or b"")
    return {key.algorithm: key for key in (elliptic, shared)}


def node(bench: str) -> str:
    """The program, with the package `ws` installed."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise CommandError(f"bench {bench} needs node 20 or newer: `make programs` brings it", Exit.FAILURE)
    packages.install(npm)
    return program


def compiled(source: Path, to: Path, *libraries: str) -> Path:
    """Compile a program of one file. Raises: CommandError without a compiler, or without a library's headers."""
    command = ["cc", "-O2", "-o", str(to), str(source), *(f"-l{name}" for name in libraries)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise CommandError("this bench needs a C compiler: install the Debian package gcc", Exit.FAILURE) from None
    except subprocess.CalledProcessError as error:
        advice = "are the Debian packages libc6-dev and libssl-dev installed?"
        raise CommandError(f"{source.name} does not compile; {advice}\n{error.stderr[:500]}", Exit.FAILURE) from None
    return to


@contextlib.contextmanager
def program(command: Sequence[str], log: Path, settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """Run a server that prints its port and ends with its input."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise CommandError(f"{command[-1]} did not start: {log.read_text()[-2000:]}", Exit.FAILURE)
            yield Server(process.pid, json.loads(line)["port"])
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
