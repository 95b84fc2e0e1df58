"""Relay and server-reflexive candidates in the background, so that no silent server holds an answer back.

aiortc gathers host candidates alone (its list of servers stays empty); what is found here is added to the running
checks and told to the other side by trickle (RFC 8838). Touches private names of aioice.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from aioice import Candidate, Connection, stun
from aioice.ice import StunProtocol, get_host_addresses, relayed_candidate, server_reflexive_candidate

from channels.ice import IceServer

GATHERING_LIMIT_S = 5.0
HEAD_START_S = 0.2
"""Direct pairs are checked alone this long: aioice, in control, takes whatever pair answers first."""
RELAY_AFTER_S = 0.1
"""Most viewers have a path of their own by then: they cost the TURN server no allocation, and their answer no time."""
_URI = re.compile(
    r"(?P<scheme>turns?):(?P<host>\[[0-9a-fA-F:.]+\]|[^:?\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>\w+))?"
)
_REFUSALS = (OSError, stun.TransactionError, TimeoutError, KeyError, ValueError)
"""What no answer, a refusal, and an answer without the attributes it must have make aioice raise."""
_log = logging.getLogger(__name__)

OnCandidate = Callable[[Candidate], None]
Hold = Callable[[], Awaitable[None]]


async def head_start() -> None:
    """Wait for the rest of the time that direct pairs are checked alone."""
    await asyncio.sleep(HEAD_START_S - RELAY_AFTER_S)


class TurnServer(msgspec.Struct, frozen=True):
    """One TURN address and the credential for it; `transport` is udp or tcp, `is_tls` tells turns."""

    host: str
    port: int
    transport: str
    is_tls: bool
    username: str
    password: str

    def __repr__(self) -> str:
        return f"TurnServer({self.host}:{self.port}/{self.transport})"


def turn_servers(servers: Iterable[IceServer]) -> list[TurnServer]:
    """TURN addresses that can be used, plain UDP first; other URIs are left out (RFC 7065)."""
    found = []
    for server in servers:
        for uri in server.uris:
            match = _URI.fullmatch(uri)
            if match is None:
                continue
            is_tls = match["scheme"] == "turns"
            transport = match["transport"] or ("tcp" if is_tls else "udp")
            if transport not in ("udp", "tcp") or (is_tls and transport == "udp"):
                continue
            port = int(match["port"] or (5349 if is_tls else 3478))
            host = match["host"].strip("[]")
            found.append(TurnServer(host, port, transport, is_tls, server.username, server.password))
    return sorted(found, key=lambda server: (server.is_tls, server.transport != "udp"))


def has_host_addresses() -> bool:
    """Whether aioice will find a host candidate: an address of this machine that is not loopback."""
    return bool(get_host_addresses(use_ipv4=True, use_ipv6=True))


async def gather(
    connection: Connection, servers: list[TurnServer], on_candidate: OnCandidate, hold: Hold = head_start
) -> None:
    """Find what the first server that answers offers; a silent one costs `GATHERING_LIMIT_S`.

    Candidates are told at once. A relay is asked for only where no pair is selected after `RELAY_AFTER_S`, and its own
    pairs are checked only after `hold`.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(_relayed(connection, servers, on_candidate, hold))
        if servers:
            group.create_task(_reflexive(connection, servers[0], on_candidate))


async def _relayed(connection: Connection, servers: list[TurnServer], on_candidate: OnCandidate, hold: Hold) -> None:
    if servers:
        await asyncio.sleep(RELAY_AFTER_S)
    for server in servers:
        if connection._nominated:
            return
        try:
            async with asyncio.timeout(GATHERING_LIMIT_S):
                candidate, protocol = await relayed_candidate(
                    component=1,
                    hide_related_address=False,
                    protocol_factory=lambda: StunProtocol(connection),
                    turn_server=(server.host, server.port),
                    turn_username=server.username,
                    turn_password=server.password,
                    turn_ssl=server.is_tls,
                    turn_transport=server.transport,
                )
        except _REFUSALS as error:
            _log.warning("TURN server gave no relay", extra={"server": repr(server), "error": type(error).__name__})
            continue
        if connection._closing:
            await protocol.close()
            return
        connection._local_candidates.append(candidate)
        on_candidate(candidate)
        try:
            await hold()
        finally:
            _adopt(connection, protocol)
        return


def _adopt(connection: Connection, protocol: StunProtocol) -> None:
    if connection._closing:
        protocol.transport.close()
        return
    connection._protocols.append(protocol)  # from here on the connection closes it
    for remote in connection._remote_candidates:
        connection._pair_remote_candidate(remote)
    connection.sort_check_list()


async def _reflexive(connection: Connection, server: TurnServer, on_candidate: OnCandidate) -> None:
    # A TURN server answers STUN Binding as well (RFC 8656, 4); aioice asks over UDP and IPv4 only.
    if server.transport != "udp":
        return
    async with asyncio.TaskGroup() as group:
        for protocol in list(connection._protocols):
            local = protocol.local_candidate
            if local.type == "host" and ipaddress.ip_address(local.host).version == 4:
                group.create_task(_reflexive_of(connection, protocol, server, on_candidate))


async def _reflexive_of(
    connection: Connection, protocol: StunProtocol, server: TurnServer, on_candidate: OnCandidate
) -> None:
    try:
        async with asyncio.timeout(GATHERING_LIMIT_S):
            candidate, _ = await server_reflexive_candidate(protocol, (server.host, server.port))
    except _REFUSALS:
        return
    local = protocol.local_candidate
    # RFC 8445, 5.1.3: a candidate that equals its base is redundant.
    if not connection._closing and (candidate.host, candidate.port) != (local.host, local.port):
        connection._local_candidates.append(candidate)
        on_candidate(candidate)
