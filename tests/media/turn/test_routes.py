"""Routes: good until their end, and not a packet longer when something changes."""

import math

import pytest

from media.turn import routes as module
from media.turn.policy import Rate
from media.turn.routes import MOST_PER_ALLOCATION, DownRoute, Routes, UpRoute
from tests.media.turn.world import PEER, RELAY_HOST, Caller, World, code_of, with_rules

CLIENT = (0, ("203.0.113.5", 40000))


def up(until: float = 10.0, port: int = 1) -> UpRoute:
    return UpRoute(1, ("192.0.2.1", port), Rate(0), until)


def test_route_ends_at_its_instant_for_everybody_who_holds_it() -> None:
    routes = Routes(Rate(0), b"seed")
    first, second = up(10.0), DownRoute(CLIENT, 0x4000, b"", Rate(0), 20.0)
    routes.open_up(CLIENT, 7, first, is_own_peer=False)
    routes.open_down(1, PEER, second)
    held = routes.up[0][CLIENT[1]]
    assert routes.due_at == 10.0
    routes.expire(9.9)
    assert held == {7: first}
    routes.expire(10.0)
    assert held == {}
    assert (first.rate.left, routes.due_at) == (-1, 20.0)
    routes.expire(20.0)
    assert routes.down == {1: {}}
    assert routes.due_at == math.inf


def test_route_in_the_place_of_another_has_its_own_end() -> None:
    routes = Routes(Rate(0), b"seed")
    routes.open_up(CLIENT, 7, up(10.0), is_own_peer=False)
    later = up(30.0)
    routes.open_up(CLIENT, 7, later, is_own_peer=False)
    routes.expire(15.0)
    assert routes.up[0][CLIENT[1]] == {7: later}


def test_routes_to_one_peer_collect_their_packets_together() -> None:
    routes = Routes(Rate(0), b"seed")
    channel, send, other = up(), up(), up(port=2)
    for key, route in ((1, other), (2, channel), (3, send)):
        routes.open_up(CLIENT, key, route, is_own_peer=False)
    assert send.packets is channel.packets
    assert other.packets is not channel.packets


def test_own_peer_whose_relay_changes_takes_all_routes_out() -> None:
    routes = Routes(Rate(0), b"seed")
    route = up()
    routes.open_up(CLIENT, 7, route, is_own_peer=True)
    routes.relayed_changed(("192.0.2.1", 2))
    assert route.is_in()
    routes.relayed_changed(("192.0.2.1", 1))
    assert not route.is_in()
    assert (routes.up, routes.down, route.rate.left, routes.due_at) == ({}, {}, -1, math.inf)


def test_number_of_routes_is_bounded() -> None:
    routes = Routes(Rate(0), b"seed")
    for port in range(MOST_PER_ALLOCATION + 1):
        routes.open_up(CLIENT, port, up(port=port), is_own_peer=False)
        routes.open_down(1, ("192.0.2.1", port), DownRoute(CLIENT, 0, b"", Rate(0), 10.0))
    assert (len(routes.up[0][CLIENT[1]]), len(routes.down[1])) == (1, 1)


def test_ends_of_routes_that_are_out_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST_ENDS", 8)
    routes = Routes(Rate(0), b"seed")
    routes.open_up(CLIENT, 1, up(5.0), is_own_peer=False)
    for _ in range(100):
        routes.open_up(CLIENT, 2, up(9.0), is_own_peer=False)
        assert len(routes._ends) <= 9
    routes.expire(5.0)
    assert list(routes.up[0][CLIENT[1]]) == [2]


def talking(world: World) -> Caller:
    caller = Caller(world)
    caller.allocate()
    assert code_of(caller.bind(0x4000)) == 0
    caller.channel_data(0x4000, b"up")
    world.from_peer(caller.relay, b"down", PEER)
    assert world.server.routes.up[0][caller.source]
    assert world.server.routes.down[caller.relay]
    return caller


def is_empty(world: World) -> bool:
    routes = world.server.routes
    return not any(routes.up.values()) and not any(routes.down.values())


@pytest.mark.parametrize("change", ["refresh", "end", "permit", "bind", "revoke", "gone", "addresses", "expire"])
def test_every_change_of_an_allocation_takes_its_routes_out(change: str) -> None:
    world = World()
    caller = talking(world)
    match change:
        case "refresh":
            caller.refresh()
        case "end":
            caller.refresh(0)
        case "permit":
            caller.permit("8.8.4.4")
        case "bind":
            caller.bind(0x4001, ("8.8.4.4", 1))
        case "revoke":
            world.perform(world.server.revoke(b""))
        case "gone":
            world.perform(world.server.client_gone((0, caller.source), world.now))
        case "addresses":
            world.server.replace_addresses(world.server._requests.peers, world.server._lifecycle._rules.relay_ips)
        case _:
            world.pass_time(600.0)
    assert is_empty(world)


def test_relay_to_relay_and_what_is_refused_get_no_route() -> None:
    world = with_rules(bitrate_bps=8 * 1000)
    one, two = Caller(world), Caller(world, port=40001)
    for caller in (one, two):
        caller.allocate()
    port = world.server._table.by_client[0, two.source].relayed[0].port
    assert code_of(one.bind(0x4000, (RELAY_HOST, port))) == 0
    two.permit(RELAY_HOST)
    one.channel_data(0x4000, b"x")
    assert world.to_clients[-1][0] == two.source
    one.channel_data(0x4001, b"x")
    one.channel_data(0x4000, bytes(9000))
    assert not any(world.server.routes.up.values())
