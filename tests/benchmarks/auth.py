"""What authentication costs: a signature, and websocket connects per CPU-second of the server by kind of credential.

The peer of a connect is a server written by hand for the same work on node's `ws` and `node:crypto`
(`_auth_yardstick.mjs`), in the same run, on the same core, with credentials of the very same keys. Each connect bears
one of its own, so that no memory of good tokens helps, but for the row that says `cached`.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from botocore.credentials import Credentials

from app.bench import Ratio, Row
from app.exits import CommandError, Exit
from channels.auth import token
from channels.auth.token import TokenKey, TokenSettings
from channels.service import ServiceClient
from tests.benchmarks import _signatures
from tests.benchmarks._connects import Generator, Server, Speed
from tests.benchmarks._services import make_keys, node, program
from tests.running import FREE_PORTS, heliograph, running

CONNECTS = 1500
WARM_UP = 750
LIFETIME_S = 3600.0
HERE = Path(__file__).parent
_SETTINGS = TokenSettings()
_ACTIONS = ("ConnectAsViewer", "DescribeSignalingChannel", "GetSignalingChannelEndpoint", "GetIceServerConfig")
_CHANNEL = "bench"

Progress = Callable[[str], None]
Targets = Callable[[Server, int], list[str]]


class Stage(msgspec.Struct, frozen=True):
    """The servers of one run of the benchmark, the keys that both verify with, and a channel that both know."""

    ours: Server
    node: Server
    bare: Server
    keys: Mapping[str, TokenKey]
    access_key: Credentials
    arn: str

    def with_signatures(self, server: Server, count: int) -> list[str]:
        """Targets with a signature each, of the one access key."""
        place = f"http://127.0.0.1:{server.port}"
        urls = (f"{place}{self._target(number)}" for number in range(count))
        return [_signatures.presigned(url, self.access_key).removeprefix(place) for url in urls]

    def with_tokens(self, algorithm: str) -> Targets:
        """Targets with a fresh token each."""
        return lambda _, count: [self._target(number, self._token(algorithm)) for number in range(count)]

    def with_one_token(self, algorithm: str) -> Targets:
        """Targets that share one token."""
        text = self._token(algorithm)
        return lambda _, count: [self._target(number, text) for number in range(count)]

    def _target(self, number: int, bearer: str = "") -> str:
        query = {"X-Amz-ChannelARN": self.arn, "X-Amz-ClientId": f"viewer-{number}"}
        return f"/viewer?{urlencode(query | ({'token': bearer} if bearer else {}))}"

    def _token(self, algorithm: str) -> str:
        return token.mint(
            self.keys[algorithm],
            _SETTINGS,
            subject="bench",
            actions=_ACTIONS,
            channels=[_CHANNEL],
            now_wall=time.time(),
            lifetime_s=LIFETIME_S,
        )


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure every kind of credential `runs` times, ours and node's by turns."""
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
        home = Path(folder)
        generator = Generator(home)
        async with _stage(home) as stage:
            rows = [await _compare(generator, stage, name, targets, runs, progress) for name, targets in _kinds(stage)]
            return (*_signatures.rows(runs, progress), *rows, await _floor(generator, stage, runs, progress))


async def connects(names: Sequence[str], runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure the kinds of credential that have these names."""
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
        home = Path(folder)
        generator = Generator(home)
        async with _stage(home) as stage:
            kinds = [kind for kind in _kinds(stage) if kind[0] in names]
            return tuple([await _compare(generator, stage, *kind, runs, progress) for kind in kinds])


def _kinds(stage: Stage) -> list[tuple[str, Targets]]:
    return [
        ("connects_sigv4", stage.with_signatures),
        ("connects_hs256", stage.with_tokens("HS256")),
        ("connects_es256", stage.with_tokens("ES256")),
        ("connects_es256_cached", stage.with_one_token("ES256")),
    ]


async def _compare(
    generator: Generator, stage: Stage, name: str, targets: Targets, runs: int, progress: Progress
) -> Row:
    ours, theirs = await _by_turns(generator, (stage.ours, stage.node), targets, runs)
    note = "default settings, limits relaxed; both write one audit line a connect"
    row = _row(name, ours, theirs, ">= node", note)
    progress(f"{name}: {row.ours:.0f} against {row.peer:.0f}")
    return row


async def _floor(generator: Generator, stage: Stage, runs: int, progress: Progress) -> Row:
    """What the HTTP server alone can do: no credential, no channel, no log line."""
    servers = (stage.bare, stage.node)
    bare, theirs = await _by_turns(generator, servers, lambda _, count: ["/bare"] * count, runs)
    note = "stock uvicorn with its websocket protocol and an application that accepts: nothing of ours, no credential"
    row = _row("connects_bare", bare, theirs, "-", note)
    progress(f"connects_bare: {row.ours:.0f} against {row.peer:.0f}")
    return row


async def _by_turns(
    generator: Generator, servers: tuple[Server, Server], targets: Targets, runs: int
) -> tuple[list[Speed], list[Speed]]:
    for server in servers:
        await generator.measure(server, targets(server, WARM_UP))
    speeds: tuple[list[Speed], list[Speed]] = ([], [])
    for number in range(runs):
        turns = list(zip(servers, speeds, strict=True))
        for server, measured in turns if number % 2 else reversed(turns):
            measured.append(await generator.measure(server, targets(server, CONNECTS)))
    return speeds


def _row(name: str, ours: Sequence[Speed], theirs: Sequence[Speed], goal: str, note: str) -> Row:
    mine, others = [speed.per_cpu_s for speed in ours], [speed.per_cpu_s for speed in theirs]
    spread = f"{min(mine):.0f} to {max(mine):.0f}, node {min(others):.0f} to {max(others):.0f}"
    client = max(speed.client_cores for speed in (*ours, *theirs))
    ratio = Ratio.of(mine, others)
    return Row(
        name=name,
        ours=round(statistics.median(mine), 1),
        peer=round(statistics.median(others), 1),
        peer_name="node ws",
        unit="connects/CPU-s",
        ratio=ratio,
        goal=goal,
        note=f"{spread}; client used {client:.2f} core at most; {note}",
        is_met=None if goal == "-" else ratio.median >= 1.0,
    )


# The servers


@contextlib.asynccontextmanager
async def _stage(home: Path) -> AsyncIterator[Stage]:
    keys = make_keys(home / "state" / "heliograph" / "keys")
    with running("serve", *FREE_PORTS, "--limits-profile", "relaxed", home=home) as ready:
        ours = Server(ready["pid"], int(ready["http"].rpartition(":")[2]))
        admin = token.mint(
            keys["ES256"],
            _SETTINGS,
            subject="bench",
            actions="*",
            channels="*",
            now_wall=time.time(),
            lifetime_s=LIFETIME_S,
        )
        client = ServiceClient(ready["http"], admin)
        arn = (await client.call("/createSignalingChannel", {"ChannelName": _CHANNEL}))["ChannelARN"]
        access_key = _make_access_key(home)
        settings = {
            "keys": [
                {"kid": key.kid, "alg": key.algorithm, "material": (key.public or key.private or b"").decode()}
                for key in keys.values()
            ],
            "issuer": _SETTINGS.issuer,
            "audience": _SETTINGS.audience,
            "region": _signatures.REGION,
            "channels": [arn],
            "accessKeys": {access_key.access_key: access_key.secret_key},
        }
        with (
            program([node("auth"), str(HERE / "_auth_yardstick.mjs")], home / "node.log", settings) as theirs,
            program([sys.executable, "-m", "tests.benchmarks._auth_bare"], home / "bare.log") as bare,
        ):
            yield Stage(ours, theirs, bare, keys, access_key, arn)


def _make_access_key(home: Path) -> Credentials:
    """A key that may connect as a viewer, made as an operator makes one."""
    done = heliograph("key", "create", "--role", "viewer", "--channel", _CHANNEL, "--json", home=home)
    if done.returncode:
        raise CommandError(f"no access key could be made: {done.stderr}", Exit.FAILURE)
    made = json.loads(done.stdout)
    return Credentials(made["access_key_id"], made["secret_access_key"])


if __name__ == "__main__":
    for row in asyncio.run(run(1, print)):
        print(row)
