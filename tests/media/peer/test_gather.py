import asyncio
import socket

import pytest
from aioice import Candidate, Connection

from channels.ice import IceServer
from media.peer import gather
from media.relay.relay import Relay, RelayAddress
from media.relay.relay_settings import RelaySettings
from media.turn.credential import Keys


@pytest.fixture(autouse=True)
def relays_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "RELAY_AFTER_S", 0.0)


def server(*uris: str) -> IceServer:
    return IceServer(uris, "user", "secret", 300)


def test_usable_turn_addresses_come_plain_udp_first() -> None:
    found = gather.turn_servers(
        [
            server("stun:192.0.2.1", "turns:a.example:443?transport=tcp", "turn:a.example?transport=tcp"),
            server(
                "turn:[2001:db8::1]:443?transport=udp",
                "turns:b.example?transport=udp",
                "turn:b.example:1?transport=sctp",
            ),
        ]
    )
    assert [(one.host, one.port, one.transport, one.is_tls) for one in found] == [
        ("2001:db8::1", 443, "udp", False),
        ("a.example", 3478, "tcp", False),
        ("a.example", 443, "tcp", True),
    ]


@pytest.mark.parametrize("uri", ["", "turn:", "http://a.example", "turn:a b?transport=udp", "turn:a.example:x"])
def test_what_is_no_turn_address_is_left_out(uri: str) -> None:
    assert gather.turn_servers([server(uri)]) == []


def test_a_credential_does_not_show() -> None:
    (one,) = gather.turn_servers([server("turn:a.example")])
    assert "secret" not in repr(one)


async def test_a_relay_candidate_joins_a_connection_that_has_begun() -> None:
    connection, found = Connection(ice_controlling=False), asyncio.get_running_loop().create_future()
    await connection.gather_candidates()
    stopping, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    relay = Relay(RelaySettings(port=0), lambda _: Keys(("secret",), b"channel", 1e12))
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(ready.set_result, stopping))
        address: RelayAddress = await ready
        servers = gather.turn_servers([server(f"turn:{address.host}:{address.port}?transport=udp")])
        await gather.gather(connection, servers, found.set_result)
        candidate: Candidate = await found
        assert candidate.type == "relay"
        assert candidate in connection.local_candidates
        assert relay.stats.allocations == 1
        await connection.close()
        assert relay.stats.allocations == 0
        stopping.set()


async def test_who_has_a_path_asks_for_no_relay() -> None:
    ours, theirs = Connection(ice_controlling=False, use_ipv6=False), Connection(ice_controlling=True, use_ipv6=False)
    for connection in (ours, theirs):
        await connection.gather_candidates()
    for here, there in ((ours, theirs), (theirs, ours)):
        here.remote_username, here.remote_password = there.local_username, there.local_password
        for candidate in there.local_candidates:
            await here.add_remote_candidate(candidate)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(ours.connect())
        group.create_task(theirs.connect())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        servers = gather.turn_servers([server(f"turn:127.0.0.1:{closed.getsockname()[1]}?transport=tcp")])
        await gather.gather(ours, servers, lambda _: pytest.fail("nobody was asked"))
    assert [candidate.type for candidate in ours.local_candidates] == ["host"]
    await ours.close()
    await theirs.close()


async def test_silent_and_refusing_servers_cost_only_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "GATHERING_LIMIT_S", 0.05)
    connection = Connection(ice_controlling=False)
    await connection.gather_candidates()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        closed.bind(("127.0.0.1", 0))
        servers = gather.turn_servers(
            [
                server(f"turn:127.0.0.1:{silent.getsockname()[1]}"),
                server(f"turn:127.0.0.1:{closed.getsockname()[1]}?transport=tcp"),
            ]
        )
        await gather.gather(connection, servers, lambda _: pytest.fail("nobody answered"))
    await connection.close()


async def test_a_relay_for_a_connection_that_was_closed_meanwhile_is_given_back() -> None:
    connection = Connection(ice_controlling=False)
    await connection.gather_candidates()
    await connection.close()
    stopping, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    relay = Relay(RelaySettings(port=0), lambda _: Keys(("secret",), b"channel", 1e12))
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(ready.set_result, stopping))
        address: RelayAddress = await ready
        servers = gather.turn_servers([server(f"turn:{address.host}:{address.port}")])
        await gather.gather(connection, servers, lambda _: pytest.fail("the connection is closed"))
        assert relay.stats.allocations == 0
        stopping.set()
