"""Websocket connects per CPU-second of a server: a compiled client opens and closes them."""

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.exits import CommandError, Exit
from tests.benchmarks._processor import cores, cpu_seconds, pin

PARALLEL = 64
_SETTLE_S = 0.1  # what the last close leaves to do belongs to it
_SOURCE = Path(__file__).parent / "_connects.c"


class Server(msgspec.Struct, frozen=True):
    """A running server on loopback."""

    pid: int
    port: int


class _Report(msgspec.Struct, frozen=True):
    opened: int
    refused: int
    failed: int
    seconds: float
    cpu_s: float
    first_refusal: str


class Speed(msgspec.Struct, frozen=True):
    """Connects per CPU-second of the server; how much of its core and of the client's own was used meanwhile."""

    per_cpu_s: float
    server_cores: float
    client_cores: float


class Generator:
    """The compiled client, on a core of its own where there are two."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "connects"
        self._server_core, self._client_core = cores()
        command = ["cc", "-O2", "-o", str(self._program), str(_SOURCE)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise CommandError("bench auth needs a C compiler: install the Debian package gcc", Exit.FAILURE) from None

    async def measure(self, server: Server, targets: Sequence[str]) -> Speed:
        """Open and close a websocket at each of these request targets. Raises: CommandError unless all opened."""
        pin(server.pid, self._server_core)
        core = -1 if self._client_core is None else self._client_core
        spent = cpu_seconds(server.pid)
        process = await asyncio.create_subprocess_exec(
            str(self._program),
            *(str(value) for value in (server.port, PARALLEL, core)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate("".join(f"{target}\n" for target in targets).encode())
        await asyncio.sleep(_SETTLE_S)
        spent = cpu_seconds(server.pid) - spent
        if process.returncode:
            raise CommandError("the client of the benchmark failed", Exit.FAILURE)
        report = msgspec.json.decode(output, type=_Report)
        if report.opened != len(targets):
            raise CommandError(f"not every websocket opened: {report}", Exit.FAILURE)
        return Speed(report.opened / spent, spent / report.seconds, report.cpu_s / report.seconds)
