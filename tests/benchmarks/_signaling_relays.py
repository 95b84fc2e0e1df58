"""The relays that `bench signaling` compares, each started once, when it is wanted; and who connects to them."""

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from channels.auth import token
from channels.auth.token import TokenKey, TokenSettings
from channels.service import ServiceClient
from tests.benchmarks._services import compiled, make_keys, node, program
from tests.benchmarks._signaling_load import Relay
from tests.running import FREE_PORTS, running

LIFETIME_S = 3600.0
RELAXED = ("--limits-profile", "relaxed")
HERE = Path(__file__).parent
_SETTINGS = TokenSettings()


class Service:
    """`heliograph serve`, with keys of ours, and its channels."""

    def __init__(self, relay: Relay, http: str, keys: Mapping[str, TokenKey]) -> None:
        self.relay = relay
        self._keys = keys
        self._client = ServiceClient(http, self.bearer("*", "*"))
        self._arns: list[str] = []

    async def targets(self, channels: int, viewers: int) -> list[str]:
        """A master and so many viewers in each channel, with a token each."""
        await self._make(channels)
        lines = []
        for number, arn in enumerate(self._arns[:channels]):
            lines.append(f"M {number} {self._target('/master', arn, {'token': self.bearer('ConnectAsMaster', arn)})}")
            for viewer in range(viewers):
                query = {"X-Amz-ClientId": f"v{viewer}", "token": self.bearer("ConnectAsViewer", arn)}
                lines.append(f"V {number} v{viewer} {self._target('/viewer', arn, query)}")
        return lines

    def bearer(self, action: str, channel: str) -> str:
        """A token for one action on one channel."""
        return token.mint(
            self._keys["ES256"],
            _SETTINGS,
            subject="bench",
            actions=[action],
            channels=[channel],
            now_wall=time.time(),
            lifetime_s=LIFETIME_S,
        )

    async def _make(self, channels: int) -> None:
        for number in range(len(self._arns), channels):
            made = await self._client.call("/createSignalingChannel", {"ChannelName": f"bench-{number}"})
            self._arns.append(made["ChannelARN"])

    @staticmethod
    def _target(path: str, arn: str, query: Mapping[str, str]) -> str:
        return f"{path}?{urlencode({'X-Amz-ChannelARN': arn, **query})}"


def plain_targets(channels: int, viewers: int) -> list[str]:
    """The same for a relay that asks for no credential and takes any channel."""
    lines = []
    for number in range(channels):
        query = {"X-Amz-ChannelARN": f"bench-{number}"}
        lines.append(f"M {number} /master?{urlencode(query)}")
        lines += [
            f"V {number} v{viewer} /viewer?{urlencode(query | {'X-Amz-ClientId': f'v{viewer}'})}"
            for viewer in range(viewers)
        ]
    return lines


class Relays:
    """Ours and the yardsticks; all end with the stack."""

    def __init__(self, home: Path, stack: contextlib.ExitStack) -> None:
        self._home = home
        self._stack = stack
        self._services: dict[tuple[str, ...], Service] = {}
        self._yardsticks: dict[str, Relay] = {}

    def service(self, *words: str) -> Service:
        """`heliograph serve` with these words after the relaxed limits: those of AWS stop a viewer at 5 offers/s."""
        if words not in self._services:
            home = self._home / f"serve-{len(self._services)}"
            keys = make_keys(home / "state" / "heliograph" / "keys")
            ready = self._stack.enter_context(running("serve", *FREE_PORTS, *RELAXED, *words, home=home))
            port = int(ready["https" if "--tls" in words else "http"].rpartition(":")[2])
            relay = Relay(
                " ".join(("ours", *words)),
                "wss" if "--tls" in words else "ws",
                (port,),
                (ready["pid"],),
                (ready["pid"],),
            )
            self._services[words] = Service(relay, ready["http"], keys)
        return self._services[words]

    def node(self) -> Relay:
        """The hand-written relay on node's `ws`."""
        return self._yardstick("node ws", "ws", node("signaling"), str(HERE / "_signaling_yardstick.mjs"))

    def starlette(self) -> Relay:
        """The hand-written relay on stock uvicorn and Starlette."""
        return self._yardstick("bare Starlette", "ws", sys.executable, "-m", "tests.benchmarks._signaling_starlette")

    def raw(self) -> Relay:
        """The relay of bytes in C: the ceiling."""
        return self._yardstick("raw TCP", "raw", str(self._home / "signaling-relay"))

    def _yardstick(self, name: str, kind: str, *command: str) -> Relay:
        if name not in self._yardsticks:
            if kind == "raw":
                compiled(HERE / "_signaling_relay.c", Path(command[0]))
            log = self._home / f"{name.replace(' ', '-')}.log"
            server = self._stack.enter_context(program(command, log))
            speaks = "raw" if kind == "raw" else "ws"
            self._yardsticks[name] = Relay(name, speaks, (server.port,), (server.pid,), (server.pid,))
        return self._yardsticks[name]
