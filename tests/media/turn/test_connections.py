"""The rules of TCP relays (RFC 6062), with a clock by hand."""

import msgspec
import pytest

from media.turn import connections, stun
from media.turn.connections import MOST_PER_ALLOCATION
from media.turn.effects import ClosePeer, ConnectPeer, JoinPeer
from media.turn.policy import PeerRules
from tests.media.turn.world import PEER, PEERS, RELAY_HOST, RULES, UDP, Attributes, Caller, World, code_of

TCP = bytes((6, 0, 0, 0))
CONTROL, DATA, DATAGRAMS = 70, 71, 0
"""Numbers of listeners: two streams of a client, and UDP."""


def world_with_tcp(peers: PeerRules = PEERS, **changes: object) -> World:
    world = World(msgspec.structs.replace(RULES, has_tcp_relays=True, **changes), peers)
    world.server.connections.streams = {CONTROL, DATA, CONTROL + 10, DATA + 10}
    return world


def caller_on(world: World, listener: int, username: str = "user") -> Caller:
    return Caller(world, port=40000 + listener, username=username, listener=listener)


def allocate(caller: Caller, *attributes: tuple[int, bytes]) -> int:
    if not caller.nonce:
        caller.challenge()
    return code_of(caller.send(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, TCP), *attributes]))


def with_allocation(world: World, listener: int = CONTROL, username: str = "user") -> Caller:
    caller = caller_on(world, listener, username)
    assert allocate(caller) == 0
    return caller


def connect(caller: Caller, peer_address: tuple[str, int] = PEER) -> list[bytes]:
    """Ask for a connection; the answer comes when it is open."""
    number = next(caller.world.transactions)
    return caller.send_raw(caller.build(stun.CONNECT, [caller.peer(peer_address, number)], transaction=number))


def connected(caller: Caller, peer_address: tuple[str, int] = PEER) -> int:
    """Return the number of an open connection."""
    assert connect(caller, peer_address) == []
    effect = caller.world.on_peers.pop()
    assert isinstance(effect, ConnectPeer)
    assert (effect.relay, effect.peer_address) == (caller.relay, peer_address)
    reply = opened(caller.world, effect.connection, is_open=True)
    assert reply.first(stun.CONNECTION_ID) == effect.connection.to_bytes(4)
    return effect.connection


def opened(world: World, number: int, *, is_open: bool) -> stun.Message:
    world.perform(world.server.connections.connected(number, is_open, world.now))
    return stun.decode(world.to_clients[-1][1])


def bind(caller: Caller, number: int, nonce: bytes = b"") -> int:
    if nonce:
        caller.nonce = nonce
    elif not caller.nonce:
        caller.challenge()
    return code_of(caller.send(stun.CONNECTION_BIND, [(stun.CONNECTION_ID, number.to_bytes(4))]))


def test_relay_for_tcp_is_opened_as_such() -> None:
    caller = with_allocation(world_with_tcp())
    assert caller.world.relays[caller.relay].is_tcp


def test_without_the_setting_there_is_none() -> None:
    caller = caller_on(World(), CONTROL)
    assert allocate(caller) == 442
    assert connect(caller) == []
    assert caller.world.stats.dropped == {"unexpected": 1}


@pytest.mark.parametrize(
    "more", [[(stun.DONT_FRAGMENT, b"")], [(stun.EVEN_PORT, b"\0")], [(stun.RESERVATION_TOKEN, bytes(8))]]
)
def test_attributes_of_datagrams_make_it_400(more: Attributes) -> None:
    assert allocate(caller_on(world_with_tcp(), CONTROL), *more) == 400


def test_client_on_udp_gets_none() -> None:
    assert allocate(caller_on(world_with_tcp(), DATAGRAMS)) == 400


def test_connection_is_opened_and_bound_by_a_second_stream() -> None:
    caller = with_allocation(world_with_tcp())
    number = connected(caller)
    assert bind(caller_on(caller.world, DATA), number) == 0
    assert caller.world.on_peers == [JoinPeer(DATA, number)]
    caller.world.pass_time(100)
    assert caller.world.on_peers == [JoinPeer(DATA, number)]


def test_second_stream_may_use_the_nonce_of_the_first() -> None:
    caller = with_allocation(world_with_tcp())
    number = connected(caller)
    assert bind(caller_on(caller.world, DATA), number, caller.nonce) == 0


def test_nonce_of_the_first_stream_is_good_for_no_other_connection() -> None:
    caller = with_allocation(world_with_tcp())
    number = connected(caller)
    assert bind(caller_on(caller.world, DATA), number + 1, caller.nonce) == 438


def test_connection_that_fails_is_447_and_may_be_tried_again() -> None:
    caller = with_allocation(world_with_tcp())
    connect(caller)
    effect = caller.world.on_peers.pop()
    assert isinstance(effect, ConnectPeer)
    assert code_of(opened(caller.world, effect.connection, is_open=False)) == 447
    assert connected(caller) != effect.connection


@pytest.mark.parametrize("seconds", [29, 30])
def test_connection_that_takes_30_s_to_open_has_failed(seconds: int) -> None:
    caller = with_allocation(world_with_tcp())
    connect(caller)
    effect = caller.world.on_peers.pop()
    assert isinstance(effect, ConnectPeer)
    assert caller.world.server.next_deadline() == caller.world.now + 30
    caller.world.pass_time(seconds)
    is_over = seconds == 30
    assert caller.world.on_peers == ([ClosePeer(effect.connection)] if is_over else [])
    if is_over:
        assert code_of(stun.decode(caller.world.to_clients[-1][1])) == 447
        caller.world.perform(caller.world.server.connections.connected(effect.connection, True, caller.world.now))
        assert caller.world.on_peers == [ClosePeer(effect.connection)] * 2


@pytest.mark.parametrize("seconds", [29, 30])
def test_connection_that_nobody_binds_for_30_s_is_closed(seconds: int) -> None:
    caller = with_allocation(world_with_tcp())
    number = connected(caller)
    caller.world.pass_time(seconds)
    assert caller.world.on_peers == ([ClosePeer(number)] if seconds == 30 else [])
    assert bind(caller_on(caller.world, DATA), number) == (400 if seconds == 30 else 0)


def test_second_connection_to_a_peer_is_446_until_the_first_has_closed() -> None:
    caller = with_allocation(world_with_tcp())
    number = connected(caller)
    assert code_of(stun.decode(connect(caller)[0])) == 446
    caller.world.server.connections.closed(number)
    caller.world.server.connections.closed(number)
    connected(caller)


def test_connections_of_an_allocation_are_bounded() -> None:
    caller = with_allocation(world_with_tcp())
    for port in range(1, MOST_PER_ALLOCATION + 1):
        connected(caller, (PEER[0], port))
    assert code_of(stun.decode(connect(caller)[0])) == 508
    caller.permit(PEER[0])
    assert caller.world.server.connections.attempted(caller.relay, PEER, caller.world.now) == (0, ())


def test_all_clients_together_have_a_bounded_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_IN_ALL", 2)
    world = world_with_tcp()
    one, other = with_allocation(world), with_allocation(world, CONTROL + 10, "other")
    first = connected(one)
    connected(other)
    assert code_of(stun.decode(connect(other, ("8.8.8.8", 9))[0])) == 508
    third = with_allocation(world, DATA, "third")
    assert code_of(stun.decode(connect(third)[0])) == 508
    world.server.connections.closed(first)
    connected(third)


@pytest.mark.parametrize(
    ("peer_address", "code"),
    [(("127.0.0.1", 80), 403), (("10.0.0.1", 80), 403), ((PEER[0], 0), 403), (("2600::1", 80), 443)],
)
def test_peers_that_must_not_be_reached_are_refused(peer_address: tuple[str, int], code: int) -> None:
    assert code_of(stun.decode(connect(with_allocation(world_with_tcp()), peer_address)[0])) == code


def test_own_port_is_reached_only_as_a_relay_of_the_same_transport() -> None:
    world = world_with_tcp()
    caller, other = with_allocation(world), with_allocation(world, CONTROL + 10)
    udp = caller_on(world, DATAGRAMS)
    assert code_of(udp.allocate()) == 0
    ports = {each: world.relays[each.relay].port for each in (caller, other, udp)}
    connected(caller, (RELAY_HOST, ports[other]))
    assert code_of(stun.decode(connect(caller, (RELAY_HOST, ports[udp]))[0])) == 403
    assert code_of(udp.bind(0x4000, (RELAY_HOST, ports[other]))) == 403
    udp.permit(RELAY_HOST)
    udp.indicate(b"data", (RELAY_HOST, ports[other]))
    assert world.stats.dropped["own-port"] == 1


def test_connect_needs_an_allocation_for_tcp_and_a_peer_address() -> None:
    world = world_with_tcp()
    none = caller_on(world, CONTROL)
    none.challenge()
    assert code_of(stun.decode(connect(none)[0])) == 437
    udp = caller_on(world, DATA)
    udp.challenge()
    assert code_of(udp.send(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)])) == 0
    assert code_of(stun.decode(connect(udp)[0])) == 437
    assert code_of(with_allocation(world, CONTROL + 10).send(stun.CONNECT, [])) == 400


def test_peer_that_comes_by_itself_needs_a_permission_and_is_announced() -> None:
    caller = with_allocation(world_with_tcp())
    connections = caller.world.server.connections
    assert connections.attempted(caller.relay, PEER, caller.world.now) == (0, ())
    assert connections.attempted(999, PEER, caller.world.now) == (0, ())
    caller.permit(PEER[0])
    number, effects = connections.attempted(caller.relay, PEER, caller.world.now)
    caller.world.perform(effects)
    told = stun.decode(caller.world.to_clients[-1][1])
    assert (told.method, told.kind) == (stun.CONNECTION_ATTEMPT, stun.INDICATION)
    assert told.first(stun.CONNECTION_ID) == number.to_bytes(4)
    value = told.first(stun.XOR_PEER_ADDRESS)
    assert value is not None
    ip, port = stun.parse_xor_address(value, told.transaction_id)
    assert (".".join(map(str, ip)), port) == PEER
    assert connections.attempted(caller.relay, PEER, caller.world.now) == (0, ())
    assert bind(caller_on(caller.world, DATA), number) == 0


def test_bind_is_for_the_owner_on_a_fresh_stream_and_once() -> None:
    caller = with_allocation(world_with_tcp())
    number = connected(caller)
    assert bind(caller_on(caller.world, DATAGRAMS), number) == 400
    assert bind(caller, number) == 400
    assert bind(caller_on(caller.world, DATA + 10, "other"), number) == 441
    assert bind(caller_on(caller.world, DATA), number + 1) == 400
    data = caller_on(caller.world, DATA)
    assert bind(data, number) == 0
    assert bind(data, number) == 400
    assert code_of(data.send(stun.CONNECTION_BIND, [])) == 400
    assert code_of(data.send(stun.CONNECTION_BIND, [(stun.CONNECTION_ID, bytes(3))])) == 400


def test_bind_must_wait_until_the_connection_is_open() -> None:
    caller = with_allocation(world_with_tcp())
    connect(caller)
    effect = caller.world.on_peers.pop()
    assert isinstance(effect, ConnectPeer)
    assert bind(caller_on(caller.world, DATA), effect.connection) == 400


def test_no_datagram_passes_an_allocation_for_tcp() -> None:
    caller = with_allocation(world_with_tcp())
    caller.permit(PEER[0])
    assert code_of(caller.bind(0x4000)) == 403
    caller.indicate(b"data")
    assert caller.world.to_peers == []
    assert caller.world.stats.dropped == {"no-allocation": 1}


def test_bytes_count_and_wait_for_the_bitrate() -> None:
    caller = with_allocation(world_with_tcp(bitrate_bps=80_000))
    number, server = connected(caller), caller.world.server
    for is_upward in (True, False):
        assert server.stream_passes(number, 4000, caller.world.now, is_upward=is_upward)
        assert not server.stream_passes(number, 10_000, caller.world.now, is_upward=is_upward)
    assert (caller.world.stats.bytes_to_peers, caller.world.stats.bytes_to_clients) == (4000, 4000)
    (usage,) = server.usage().values()
    assert (usage.bytes_to_peers, usage.bytes_to_clients) == (4000, 4000)
    server.connections.closed(number)
    assert not server.stream_passes(number, 1, caller.world.now, is_upward=True)
