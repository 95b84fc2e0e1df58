"""The services of a fleet: real processes on ports that stay, killed and started again, and what they use."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from app.cli_token import ACTIONS, load_keys, token_settings
from app.data_folder import keys_folder
from app.exits import CommandError, Exit
from app.settings import Settings
from app.wiring.backing import Embedded
from app.wiring.redis_backing import AllInRedis
from app.wiring.redis_start import places
from channels.auth import token
from channels.control import ControlPlane, ControlSettings
from channels.quotas import Quotas
from channels.signaling.limits import Limits
from tests.benchmarks._processor import cpu_seconds
from tests.running import Started, started

LIFETIME_S = 3600.0
_AT_ONCE = 64
_PORTS = range(20_000, 32_000)  # under the ephemeral ones, so that a node finds its port free after a kill


class Memory(msgspec.Struct, frozen=True):
    """MiB of one process: its proportional share now, and the most that was ever resident."""

    share: float
    peak: float


class Node:
    """One `heliograph serve` with default settings, in a private home."""

    def __init__(self, home: Path, number: int, redis_url: str) -> None:
        self.port = _free_port()
        self._home = home / f"node-{number}"
        self._log = self._home / "serve.log"
        self._redis = ("--redis", redis_url, "--drain-s", "1") if redis_url else ()
        self._stack = contextlib.ExitStack()
        self._started: Started | None = None
        self._spent_s = 0.0

    @property
    def data_dir(self) -> Path:
        """Where its catalog and keys are."""
        return self._home / "state" / "heliograph"

    @property
    def is_running(self) -> bool:
        """Whether it was started and not killed."""
        return self._started is not None

    @property
    def pid(self) -> int:
        """The process of API and signaling, while it runs."""
        assert self._started is not None
        return self._started.process.pid

    @property
    def cpu_s(self) -> float:
        """What it has used, with its processes before it and without its relay's."""
        return self._spent_s + (cpu_seconds(self.pid) if self._started else 0.0)

    def start(self) -> float:
        """Run it on its port; the seconds until it was ready."""
        self._home.mkdir(parents=True, exist_ok=True)
        errors = self._stack.enter_context(self._log.open("ab"))
        ports = ("--http-port", str(self.port), "--turn-port", "0", "--ops-port", "0")
        began = time.monotonic()
        process = started("serve", *self._redis, ports=ports, stderr=errors, home=self._home)
        try:
            self._started = self._stack.enter_context(process)
        except AssertionError as error:
            raise CommandError(f"{error}: {self._log.read_text()[-2000:]}", Exit.FAILURE) from None
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL; its relay's process sees that and ends."""
        assert self._started is not None
        self._spent_s += cpu_seconds(self.pid)
        self._started.process.kill()
        self._started.process.wait()
        self._started = None

    def memory(self) -> Memory:
        """What it holds."""
        folder = Path(f"/proc/{self.pid}")
        return Memory(_kib(folder / "smaps_rollup", "Pss") / 1024, _kib(folder / "status", "VmHWM") / 1024)

    def stop(self) -> None:
        """End it in order, if it runs."""
        self._stack.close()
        self._started = None


@contextlib.contextmanager
def nodes(home: Path, count: int, redis_url: str) -> Iterator[list[Node]]:
    """Make nodes that do not run yet; end them when the block ends."""
    with contextlib.ExitStack() as stack:
        made = [Node(home, number, redis_url) for number in range(count)]
        for node in made:
            stack.callback(node.stop)
        yield made


async def write_cameras(path: Path, count: int, data_dir: Path, redis_url: str) -> None:
    """Make a channel for each camera, and write a line for each: ARN, token of its master, token of its viewers."""
    settings = Settings(data_dir=str(data_dir), redis_url=redis_url)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    folder = keys_folder(settings)
    arns = await _channels(settings, folder, count)
    key, now = load_keys(folder)[-1], time.time()

    def mint(role: str, channel: str) -> str:
        return token.mint(
            key,
            token_settings(settings),
            subject=f"{role}-{channel}",
            actions=ACTIONS[role],
            channels=[channel],
            now_wall=now,
            lifetime_s=LIFETIME_S,
        )

    with path.open("w") as file:
        for arn in arns:
            name = arn.split("/")[1]
            file.write(f"{arn} {mint('master', name)} {mint('viewer', name)}\n")


async def _channels(settings: Settings, folder: Path, count: int) -> Sequence[str]:
    """Make them as CreateSignalingChannel does, without its rate."""
    found = places(settings)
    embedded = None if found else Embedded(str(folder / "catalog.sqlite"))
    redis = AllInRedis(found.catalog, found.presence or found.catalog, Limits.aws()) if found else None
    store = redis.store if redis else embedded.store if embedded else None
    assert store is not None
    control = ControlPlane(store, ControlSettings(quotas=Quotas.relaxed()), wall_ms=lambda: time.time_ns() // 1_000_000)
    numbers, arns = iter(range(count)), [""] * count

    async def create() -> None:
        for number in numbers:
            arns[number] = str((await control.create(settings.account, f"camera-{number}")).arn)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(create())
        return arns
    finally:
        if embedded:
            embedded.close()
        if redis:
            await redis.link.aclose()


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _kib(path: Path, name: str) -> int:
    lines = path.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
