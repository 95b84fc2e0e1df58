"""Two ICE agents in the lab: runs them, carries their signaling, tells which pair they selected."""

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.netns.lab import HOST_A, HOST_B, Lab
from tests.running import environment

_PROGRAM = Path(__file__).parent / "_ice_agent.py"
_START_LIMIT_S = 60.0  # a process starts, imports and gathers: 5 s of it are aioice's patience with a dead server
_WORD_LIMIT_S = 60.0


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """The servers that both agents use; `credential` is user name and password."""

    stun: tuple[str, int] | None = None
    turn: tuple[str, int] | None = None
    transport: str = "udp"
    has_tls: bool = False
    credential: tuple[str, str] = ("", "")
    ca_file: str = ""
    is_relay_only: bool = False
    is_refreshed: bool = False


class Selected(msgspec.Struct, frozen=True):
    """The pair that one end selected, by types of candidates; none when it is not connected."""

    is_connected: bool
    connect_s: float
    local: str
    remote: str
    gather_s: float = 0.0


class Agent:
    """One end, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def hear(self, limit_s: float) -> dict[str, Any]:
        """Return the next line that it says."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], limit_s)
        assert readable, f"an agent said nothing in {limit_s:g} s"
        line = self._process.stdout.readline()
        assert line, "an agent ended before its time"
        facts: dict[str, Any] = json.loads(line)
        return facts

    def tell(self, facts: dict[str, Any]) -> None:
        """Say a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(facts) + "\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def agent(lab: Lab, part: str, servers: Servers, limit_s: float, *, is_controlling: bool) -> Iterator[Agent]:
    """Start an agent in a namespace; it ends, and gives its allocation back, when the block ends."""
    options = {
        "ice_controlling": is_controlling,
        "stun_server": servers.stun,
        "turn_server": servers.turn,
        "turn_transport": servers.transport,
        "turn_ssl": servers.has_tls,
        "turn_username": servers.credential[0],
        "turn_password": servers.credential[1],
        "use_ipv6": False,  # the hosts reach each other by IPv6, where nothing is translated
        "transport_policy": "RELAY" if servers.is_relay_only else "ALL",
        "is_refreshed": servers.is_refreshed,
        "limit_s": limit_s,
    }
    trusted = {"SSL_CERT_FILE": servers.ca_file} if servers.ca_file else {}
    with subprocess.Popen(
        [*lab.within(part), sys.executable, "-P", str(_PROGRAM), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment(), **trusted},
    ) as process:
        try:
            yield Agent(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def connect(lab: Lab, servers: Servers, limit_s: float) -> tuple[Selected, Selected]:
    """Let A (controlling) and B find each other through the NATs of the lab; returns what each end selected."""
    with (
        agent(lab, HOST_A, servers, limit_s, is_controlling=True) as one,
        agent(lab, HOST_B, servers, limit_s, is_controlling=False) as two,
    ):
        ends = (one, two)
        gathered = [end.hear(_START_LIMIT_S) for end in ends]
        for end, others in zip(ends, reversed(gathered), strict=True):
            end.tell(others)
        said = [end.hear(limit_s + _WORD_LIMIT_S) for end in ends]
    first, second = (Selected(**facts, gather_s=mine["gather_s"]) for facts, mine in zip(said, gathered, strict=True))
    return first, second
