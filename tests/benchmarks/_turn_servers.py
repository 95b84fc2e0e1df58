"""The two TURN servers of the benchmark, each as operators run it, and the compiled load generator."""

import asyncio
import base64
import contextlib
import hmac
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.certificates import DevelopmentFiles
from app.exits import CommandError, Exit
from tests.benchmarks._processor import cores, pin
from tests.running import running

OURS_PORTS, COTURN_PORTS = (10000, 19999), (20000, 29999)
"""Relay ports, below those that the kernel gives to clients."""

LIFETIME_S = 6 * 3600
READY_S = 10.0
_ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/bench/1600000000000"
_SOURCE = Path(__file__).parent / "_turn_load.c"


class TurnServer(msgspec.Struct, frozen=True):
    """A running server on loopback; `secure_port` takes TLS and DTLS."""

    name: str
    pid: int
    port: int
    secure_port: int


class Report(msgspec.Struct, frozen=True):
    """What the generator says; `own_s` and `server_s` are CPU-seconds, `wrong` counts doubles, disorder and damage."""

    sent: int
    received: int
    wrong: int
    seconds: float
    server_s: float
    own_s: float
    p50_us: int
    p99_us: int
    pss_kib: int


class Generator:
    """The compiled clients and peers, on a core of their own where there are two."""

    def __init__(self, folder: Path, secret: str) -> None:
        self._program = folder / "turn_load"
        self._server_core, self._own_core = cores()
        username = f"{int(time.time()) + LIFETIME_S}:{base64.b64encode(f'v1:{_ARN}'.encode()).decode()}"
        password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()
        self._account = (f"user={username}", f"password={password}")
        command = ["cc", "-O2", "-o", str(self._program), str(_SOURCE), "-lssl", "-lcrypto", "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", "")
            raise CommandError(
                f"bench turn needs a C compiler and OpenSSL's headers: install the Debian packages gcc, libc6-dev and "
                f"libssl-dev {told}",
                Exit.FAILURE,
            ) from None

    async def load(self, server: TurnServer | None, *words: str) -> Report:
        """Put a load on a server, or without one send from client to peer directly. Raises: CommandError."""
        target = ["mode=direct"]
        if server is not None:
            pin(server.pid, self._server_core)
            port = server.secure_port if any(word.startswith("transport=") for word in words) else server.port
            target = [f"port={port}", f"pid={server.pid}"]
        core = -1 if self._own_core is None else self._own_core
        process = await asyncio.create_subprocess_exec(
            str(self._program),
            *(*target, f"core={core}", *self._account, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            name = "no server" if server is None else server.name
            raise CommandError(f"load {words} on {name} failed: {errors.decode()}", Exit.FAILURE)
        return msgspec.json.decode(output, type=Report)


@contextlib.contextmanager
def ours(home: Path, files: DevelopmentFiles | None = None) -> Iterator[TurnServer]:
    """`heliograph turn` with the data folder and the secret of `make_secret`, without limits per channel.

    With a certificate it takes TLS and DTLS, too.
    """
    words = ["--turn-port", "0", "--limits-profile", "relaxed", "--data-dir", str(home / "data")]
    if files is not None:
        words += ["--turn-tls-certificate", str(files.pair.certificate), "--turn-tls-key", str(files.pair.key)]
    first, last = (str(port) for port in OURS_PORTS)
    with running("turn", *words, "--turn-min-port", first, "--turn-max-port", last, home=home) as ready:
        port = int(ready["turn"].partition("?")[0].rpartition(":")[2])
        yield TurnServer("heliograph", ready["pid"], port, port)


@contextlib.contextmanager
def coturn(home: Path, files: DevelopmentFiles | None = None) -> Iterator[TurnServer]:
    """Debian's coturn in one thread, its best setting for one core, with short replies and no log of sessions.

    With a certificate it takes TLS and DTLS, too.
    """
    program = shutil.which("turnserver")
    if program is None:
        raise CommandError("bench turn needs coturn: install the Debian package coturn", Exit.FAILURE)
    folder = home / "coturn"
    folder.mkdir(exist_ok=True)
    port, secure_port = _free_port(), _free_port()
    first, last = (str(port) for port in COTURN_PORTS)
    words = [
        *("-n", "-m", "0", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", str(port), "-r", "bench"),
        *("--tls-listening-port", str(secure_port), "--min-port", first, "--max-port", last, "--allow-loopback-peers"),
        *("--use-auth-secret", f"--static-auth-secret={secret(home)}", "--no-cli"),
        *("--no-software-attribute", "--no-rfc5780", "--no-stun-backward-compatibility"),
        *("--response-origin-only-with-rfc5780", "--simple-log", "--no-stdout-log"),
        *("-l", str(folder / "log"), "--pidfile", str(folder / "pid"), "-b", str(folder / "users")),
    ]
    if files is None:
        words += ["--no-tls", "--no-dtls"]
    else:
        words += ["--cert", str(files.pair.certificate), "--pkey", str(files.pair.key)]
    with subprocess.Popen(
        [program, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for_binding(port)
            yield TurnServer("coturn", process.pid, port, secure_port)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def make_secret(home: Path) -> str:
    """Make the secret that both servers verify with, in the data folder of ours."""
    folder = home / "data"
    folder.mkdir(mode=0o700)
    path = folder / "turn.secret"
    path.touch(0o600)
    path.write_text("b" * 64 + "\n")
    return secret(home)


def secret(home: Path) -> str:
    """Return the secret that `make_secret` made."""
    return (home / "data" / "turn.secret").read_text().strip()


def coturn_version() -> str:
    """Version of the coturn that is installed."""
    done = subprocess.run(["turnserver", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_binding(port: int) -> None:
    request = bytes((0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, *bytes(12)))
    limit = time.monotonic() + READY_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        probe.settimeout(0.2)
        while time.monotonic() < limit:
            with contextlib.suppress(OSError):
                probe.send(request)
                probe.recv(100)
                return
    raise CommandError("coturn did not start", Exit.FAILURE)
