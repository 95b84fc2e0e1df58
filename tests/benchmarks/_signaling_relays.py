"""The relays that `bench signaling` compares, and who connects to them. Each runs until its stack ends."""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from app.certificates import DevelopmentFiles
from app.settings import load
from channels.auth import token
from channels.auth.token import TokenKey, TokenSettings
from channels.control import ControlPlane, ControlSettings
from channels.embedded.store import SqliteStore
from channels.quotas import Quotas
from tests import certificates
from tests.benchmarks._connects import Server
from tests.benchmarks._services import compiled, make_keys, node, program
from tests.benchmarks._signaling_load import Relay
from tests.redis_server import RedisServer
from tests.running import FREE_PORTS, running

LIFETIME_S = 3600.0
RELAXED = ("--limits-profile", "relaxed")
TLS = ("--tls", "true", "--https-port", "0")
STOCK = ("--websocket", "stock")
HERE = Path(__file__).parent
_SETTINGS = TokenSettings()
_AT_ONCE = 500  # channels that are committed together


class Service:
    """`heliograph serve`, with keys and channels of ours."""

    def __init__(self, relay: Relay, keys: Mapping[str, TokenKey], arns: list[str]) -> None:
        self.relay = relay
        self._keys = keys
        self._arns = arns

    def targets(self, channels: int, viewers: int) -> list[str]:
        """A master and so many viewers in each channel, with a token each."""
        assert channels <= len(self._arns)
        return targets(self._arns[:channels], viewers, lambda action, arn: {"token": self._bearer(action, arn)})

    def _bearer(self, action: str, channel: str) -> str:
        return token.mint(
            self._keys["ES256"],
            _SETTINGS,
            subject="bench",
            actions=[action],
            channels=[channel],
            now_wall=time.time(),
            lifetime_s=LIFETIME_S,
        )


def targets(arns: list[str], viewers: int, credential: Callable[[str, str], Mapping[str, str]]) -> list[str]:
    """Lines for the generator: each master before its viewers. `credential` takes an action and an ARN."""
    lines = []
    for number, arn in enumerate(arns):
        query = {"X-Amz-ChannelARN": arn}
        lines.append(f"M {number} /master?{urlencode({**query, **credential('ConnectAsMaster', arn)})}")
        for viewer in range(viewers):
            own = {"X-Amz-ClientId": f"v{viewer}", **credential("ConnectAsViewer", arn)}
            lines.append(f"V {number} v{viewer} /viewer?{urlencode({**query, **own})}")
    return lines


def plain_targets(channels: int, viewers: int) -> list[str]:
    """The same for a relay that asks for no credential and takes any channel."""
    return targets([f"bench-{number}" for number in range(channels)], viewers, lambda _, __: {})


class Relays:
    """Starts relays, ours and the yardsticks, each in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._numbers = itertools.count()
        self._files: DevelopmentFiles | None = None

    async def service(self, stack: contextlib.ExitStack, channels: int, *words: str) -> Service:
        """`heliograph serve` with these words after the relaxed limits: those of AWS stop a viewer at 5 offers/s."""
        home = self._home / f"serve-{next(self._numbers)}"
        data = home / "state" / "heliograph"
        keys = make_keys(data / "keys")
        arns = await _made_channels(data, channels)
        ready = stack.enter_context(running("serve", *FREE_PORTS, *RELAXED, *words, home=home))
        is_secure = words == TLS
        port = int(ready["https" if is_secure else "http"].rpartition(":")[2])
        relay = Relay("ours", "wss" if is_secure else "ws", (port,), (ready["pid"],))
        return Service(relay, keys, arns)

    def node(self, stack: contextlib.ExitStack, *, is_secure: bool = False) -> Relay:
        """The hand-written relay on node's `ws`."""
        command = [node("signaling"), str(HERE / "_signaling_yardstick.mjs")]
        if is_secure:
            self._files = self._files or certificates.made(self._home)
            command += [str(self._files.pair.certificate), str(self._files.pair.key)]
        return _relay("node ws", "wss" if is_secure else "ws", self._run(stack, *command))

    def starlette(self, stack: contextlib.ExitStack) -> Relay:
        """The hand-written relay on stock uvicorn and Starlette."""
        server = self._run(stack, sys.executable, "-m", "tests.benchmarks._signaling_starlette")
        return _relay("bare Starlette", "ws", server)

    def starlette_nodes(self, stack: contextlib.ExitStack, redis: RedisServer) -> Relay:
        """Two of them that meet at a Redis by redis-py."""
        command = (sys.executable, "-m", "tests.benchmarks._signaling_starlette", redis.url)
        servers = [self._run(stack, *command) for _ in range(2)]
        pids = (*(server.pid for server in servers), redis.pid)
        return Relay("Starlette with redis-py", "ws", tuple(server.port for server in servers), pids)

    def raw(self, stack: contextlib.ExitStack) -> Relay:
        """The relay of bytes in C: the ceiling."""
        command = self._home / "signaling-relay"
        if not command.exists():
            compiled(HERE / "_signaling_relay.c", command)
        return _relay("raw TCP", "raw", self._run(stack, str(command)))

    def _run(self, stack: contextlib.ExitStack, *command: str) -> Server:
        return stack.enter_context(program(command, self._home / f"yardstick-{next(self._numbers)}.log"))


async def _made_channels(data: Path, count: int) -> list[str]:
    """The ARNs of channels that a service finds in its catalog when it starts; thousands of requests take longer."""
    settings = load({}, {}).settings
    store = SqliteStore(data / "catalog.sqlite", timeout_s=60.0)
    try:
        control = ControlPlane(
            store,
            ControlSettings(region=settings.region, account=settings.account, quotas=Quotas.relaxed()),
            wall_ms=lambda: time.time_ns() // 1_000_000,
        )
        made = []
        for start in range(0, count, _AT_ONCE):
            async with asyncio.TaskGroup() as group:
                numbers = range(start, min(count, start + _AT_ONCE))
                made += [group.create_task(control.create(settings.account, f"bench-{each}")) for each in numbers]
        return [str(task.result().arn) for task in made]
    finally:
        store.close()


def _relay(name: str, kind: Literal["ws", "wss", "raw"], server: Server) -> Relay:
    return Relay(name, kind, (server.port,), (server.pid,))
