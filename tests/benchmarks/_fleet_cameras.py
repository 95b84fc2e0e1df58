"""The simulated cameras of a fleet: a compiled program, what it is told and what it tells."""

import asyncio
import contextlib
import subprocess
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from app.exits import CommandError, Exit

_SOURCE = Path(__file__).parent / "_fleet_cameras.c"
_SILENCE_S = 5.0


class Told(msgspec.Struct, frozen=True):
    """How things are: `open`, `viewers`, `owed` and `all_back` now, all else since the last mark or watch.

    Instants are those of the monotonic clock; times are seconds.
    """

    commands: int
    cpu_s: float
    open: int
    viewers: int
    owed: int
    all_back: float
    first_open: float
    last_open: float
    connects: int
    calls: int
    sent: int
    received: int
    statuses: int
    latency_p50: float
    latency_p99: float
    back_p50: float
    back_p99: float
    back_most: float
    visits: int
    complete: int
    away: int
    unanswered: int
    drops: int
    freezes: int
    failures: dict[str, int]
    viewer_failures: dict[str, int]
    ghosts: int
    ghosts_left: int
    first_other: str


_decode = msgspec.json.Decoder(Told).decode


class Fleet:
    """The running program."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._commands = 0

    async def do(self, command: str) -> Told:
        """Give a command; what it told right after it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._commands += 1
        return await self.until(lambda told: told.commands == self._commands, command, _SILENCE_S)

    async def until(self, holds: Callable[[Told], bool], what: str, limit_s: float) -> Told:
        """Wait until that holds. Raises: CommandError after `limit_s`, with what it told last."""
        give_up_at, told = time.monotonic() + limit_s, None
        while told is None or not holds(told):
            told = await self._next()
            if time.monotonic() > give_up_at and not holds(told):
                raise CommandError(f"not in {limit_s:.0f} s: {what}; the cameras say {told}", Exit.FAILURE)
        return told

    async def _next(self) -> Told:
        assert self._process.stdout is not None
        async with asyncio.timeout(_SILENCE_S):
            line = await self._process.stdout.readline()
        if not line:
            raise CommandError("the simulated cameras have ended", Exit.FAILURE)
        return _decode(line)


def compiled(folder: Path) -> Path:
    """Compile the program. Raises: CommandError without a compiler."""
    program = folder / "cameras"
    command = ["cc", "-O2", "-o", str(program), str(_SOURCE), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise CommandError("bench fleet needs a C compiler: install the Debian package gcc", Exit.FAILURE) from None
    return program


@contextlib.asynccontextmanager
async def running(
    program: Path, cameras: Path, ports: Sequence[int], options: Mapping[str, float]
) -> AsyncIterator[Fleet]:
    """Run the cameras of that file until the block ends; they connect once they are told to."""
    pipe = asyncio.subprocess.PIPE
    words = [str(cameras), ",".join(map(str, ports)), *(f"{name}={value:g}" for name, value in options.items())]
    process = await asyncio.create_subprocess_exec(str(program), *words, stdin=pipe, stdout=pipe, limit=1 << 20)
    try:
        yield Fleet(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
