"""The compiled load generator of signaling: its connections, and runs over them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.exits import CommandError, Exit
from tests.benchmarks._processor import cores, pin
from tests.benchmarks._services import compiled

PAYLOAD = 1200
_SOURCE = Path(__file__).parent / "_signaling_load.c"
_OPEN_LIMIT_S = 120.0
_REST_S = 20.0
_ALL = 16


class Relay(msgspec.Struct, frozen=True):
    """A running relay: what it speaks, where masters and viewers connect, and the processes whose time it takes."""

    name: str
    kind: Literal["ws", "wss", "raw"]
    ports: tuple[int, ...]
    pids: tuple[int, ...]


class Report(msgspec.Struct, frozen=True):
    """One run: `cpu_s` of each process of the relay, times from when a message was to be sent, in microseconds.

    `not_relayed` counts what came back as an error, `late` what the generator sent over 100 us after its time.
    """

    messages: int
    seconds: float
    client_cpu_s: float
    not_relayed: int
    late: int
    timed: int
    p50_us: float
    p99_us: float
    p999_us: float
    cpu_s: tuple[float, ...]

    def cpu_us(self, processes: int = _ALL) -> float:
        """Microseconds per message of the first `processes` of the relay."""
        return 1e6 * sum(self.cpu_s[:processes]) / self.messages

    @property
    def per_cpu_s(self) -> float:
        """Messages relayed per CPU-second of all the relay's processes."""
        return self.messages / sum(self.cpu_s)


class Order(msgspec.Struct, frozen=True):
    """What a run is: messages under way (closed) or a second (open), and for how long after what warm-up; or each
    viewer's first exchange (once), so many under way, within `run_s`."""

    mode: Literal["closed", "open", "once"]
    amount: int
    run_s: float
    warm_s: float = 0.3


class Load:
    """The connections of one generator to one relay, all open."""

    def __init__(self, relay: Relay, process: asyncio.subprocess.Process) -> None:
        self.relay = relay
        self._process = process

    async def run(self, order: Order) -> Report:
        """Send and be sent. Raises: CommandError when the relay closed a connection or did not answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order.mode} {order.amount} {order.warm_s} {order.run_s}\n".encode())
        report = msgspec.json.decode(await self.line(order.run_s + order.warm_s + _REST_S), type=Report)
        if not report.messages:
            raise CommandError(f"{self.relay.name} relayed nothing", Exit.FAILURE)
        return report

    async def line(self, limit_s: float) -> bytes:
        """The next line of the generator. Raises: CommandError when there is none."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise CommandError(f"the load on {self.relay.name} ended early; the reason is above", Exit.FAILURE)
        return line


class Generator:
    """The compiled program, on a core of its own where there are two."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = compiled(_SOURCE, folder / "signaling-load", "m", "ssl", "crypto")
        self._server_core, self._own_core = cores()

    @contextlib.asynccontextmanager
    async def load(
        self, relay: Relay, targets: Sequence[str], payload: int = PAYLOAD, *, is_timed: bool = True
    ) -> AsyncIterator[Load]:
        """Open a connection for each target; they close when the block ends. What is not timed may run anywhere."""
        core = self._own_core if is_timed else None
        for pid in relay.pids if is_timed else ():
            pin(pid, self._server_core)
        path = self._folder / f"targets-{relay.name.replace(' ', '-')}"
        path.write_text("".join(f"{target}\n" for target in targets))
        process = await asyncio.create_subprocess_exec(
            str(self._program),
            relay.kind,
            ",".join(str(port) for port in relay.ports),
            ",".join(str(pid) for pid in relay.pids),
            str(-1 if core is None else core),
            str(path),
            str(payload),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            load = Load(relay, process)
            await load.line(_OPEN_LIMIT_S)
            yield load
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


async def by_turns(loads: Sequence[Load], order: Order, runs: int) -> list[list[Report]]:
    """Run each load `runs` times, one after the other, every second round backwards; reports by load."""
    reports: list[list[Report]] = [[] for _ in loads]
    for load in loads:
        await load.run(msgspec.structs.replace(order, run_s=min(0.3, order.run_s), warm_s=min(0.5, order.run_s)))
    turns = list(zip(loads, reports, strict=True))
    for number in range(runs):
        for load, measured in turns if number % 2 else reversed(turns):
            measured.append(await load.run(order))
    return reports
