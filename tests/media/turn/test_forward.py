"""What passes between clients and peers, and what does not."""

import msgspec
import pytest

from media.turn import stun
from media.turn.address import IPV4, pack
from media.turn.policy import PeerRules
from tests.media.turn.world import PEER, PEERS, RELAY_HOST, RULES, Caller, World, address_of, code_of, with_rules


def bound(world: World, port: int = 40000, number: int = 0x4000) -> Caller:
    caller = Caller(world, port=port)
    caller.allocate()
    assert code_of(caller.bind(number)) == 0
    return caller


def test_channel_data_goes_to_the_peer_and_back_as_channel_data() -> None:
    world = World()
    caller = bound(world)
    caller.channel_data(0x4000, b"up")
    assert world.to_peers == [(caller.relay, PEER, b"up")]
    world.from_peer(caller.relay, b"down", PEER)
    assert world.to_clients[-1] == (caller.source, b"\x40\x00\x00\x04down")
    stats = world.stats
    assert (stats.packets_to_peers, stats.bytes_to_peers, stats.packets_to_clients, stats.bytes_to_clients) == (
        1,
        2,
        1,
        4,
    )


@pytest.mark.parametrize("data", [b"", b"x", b"abcde", bytes(1472), bytes(9000), bytes(65503)])
def test_every_size_passes_both_ways_unchanged(data: bytes) -> None:
    world = with_rules(bitrate_bps=0)
    caller = bound(world)
    caller.channel_data(0x4000, data)
    assert world.to_peers[-1][2] == data
    world.from_peer(caller.relay, data, PEER)
    assert world.to_clients[-1][1][4:] == data


def test_padding_of_channel_data_is_left_behind() -> None:
    world = World()
    caller = bound(world)
    caller.send_raw(b"\x40\x00\x00\x05abcde\0\0\0")
    assert world.to_peers[-1][2] == b"abcde"


def test_cut_off_channel_data_is_dropped() -> None:
    world = World()
    caller = bound(world)
    caller.send_raw(b"\x40\x00\x00\x05abcd")
    assert world.to_peers == []
    assert world.stats.dropped == {"malformed": 1}


def test_channel_that_is_not_bound_is_dropped() -> None:
    world = World()
    bound(world).channel_data(0x4001, b"x")
    assert world.stats.dropped == {"no-channel-bind": 1}


def test_bind_carries_data_for_600_seconds_both_ways() -> None:
    world = World()
    caller = bound(world)
    world.pass_time(500.0)
    caller.refresh()
    world.pass_time(99.0)
    caller.channel_data(0x4000, b"x")
    world.from_peer(caller.relay, b"y", PEER)
    assert (world.stats.packets_to_peers, world.stats.packets_to_clients) == (1, 1)
    world.pass_time(1.0)
    caller.channel_data(0x4000, b"x")
    world.from_peer(caller.relay, b"y", PEER)
    assert (world.stats.packets_to_peers, world.stats.packets_to_clients) == (1, 1)


def test_send_goes_to_a_permitted_peer_and_data_comes_back_from_any_of_its_ports() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    caller.permit("8.8.8.8")
    caller.indicate(b"up", ("8.8.8.8", 53))
    assert world.to_peers == [(caller.relay, ("8.8.8.8", 53), b"up")]
    world.from_peer(caller.relay, b"down", ("8.8.8.8", 54))
    indication = stun.decode(world.to_clients[-1][1])
    assert (indication.method, indication.kind) == (stun.DATA_METHOD, stun.INDICATION)
    assert address_of(indication, stun.XOR_PEER_ADDRESS) == ("8.8.8.8", 54)
    assert indication.first(stun.DATA) == b"down"


def test_data_indications_have_different_transactions() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    caller.permit("8.8.8.8")
    for _ in range(3):
        world.from_peer(caller.relay, b"down", PEER)
    found = {stun.decode(data).transaction_id for _, data in world.to_clients[-3:]}
    assert len(found) == 3


def test_permission_ends_after_300_seconds_both_ways() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    caller.permit("8.8.8.8")
    world.pass_time(299.0)
    caller.indicate(b"x")
    world.from_peer(caller.relay, b"y", PEER)
    assert (world.stats.packets_to_peers, world.stats.packets_to_clients) == (1, 1)
    world.pass_time(1.0)
    caller.indicate(b"x")
    world.from_peer(caller.relay, b"y", PEER)
    assert world.stats.dropped == {"no-permission": 2}


def test_bind_of_one_port_permits_the_whole_host_for_300_seconds() -> None:
    world = World()
    caller = bound(world)
    world.from_peer(caller.relay, b"y", ("8.8.8.8", 1))
    assert stun.decode(world.to_clients[-1][1]).method == stun.DATA_METHOD
    world.pass_time(300.0)
    world.from_peer(caller.relay, b"y", ("8.8.8.8", 1))
    assert world.stats.dropped == {"no-permission": 1}


def test_stranger_is_not_passed_on() -> None:
    world = World()
    caller = bound(world)
    before = len(world.to_clients)
    world.from_peer(caller.relay, b"spam", ("8.8.4.4", 5000))
    assert len(world.to_clients) == before


def test_datagram_for_a_closed_relay_is_dropped() -> None:
    world = World()
    world.from_peer(99, b"late", PEER)
    assert world.stats.dropped == {"no-allocation": 1}


@pytest.mark.parametrize(
    "attributes",
    [
        [],
        [(stun.DATA, b"x")],
        [(stun.XOR_PEER_ADDRESS, stun.xor_address(pack("8.8.8.8"), 5000, bytes(12)))],
        [(stun.XOR_PEER_ADDRESS, bytes(3)), (stun.DATA, b"x")],
        [
            (stun.XOR_PEER_ADDRESS, stun.xor_address(pack("8.8.8.8"), 5000, bytes(12))),
            (stun.DATA, b"x"),
            (0x7ABC, b""),
        ],
    ],
)
def test_malformed_send_is_dropped_silently(attributes: list[tuple[int, bytes]]) -> None:
    world = World()
    caller = bound(world)
    indication = stun.Message(stun.SEND, stun.INDICATION, bytes(12), attributes)
    assert caller.send_raw(stun.encode(indication)) == []
    assert world.to_peers == []
    assert world.stats.dropped == {"malformed": 1}


def test_send_without_an_allocation_or_to_port_zero_is_dropped() -> None:
    world = World()
    Caller(world, port=1).indicate(b"x")
    bound(world).indicate(b"x", ("8.8.8.8", 0))
    assert world.stats.dropped == {"no-allocation": 1, "no-permission": 1}


def test_send_with_dont_fragment_passes() -> None:
    world = World()
    bound(world).indicate(b"x", extra=[(stun.DONT_FRAGMENT, b"")])
    assert len(world.to_peers) == 1


def test_relay_to_relay_passes_inside_with_the_relayed_address_as_source() -> None:
    world = World()
    one, two = Caller(world), Caller(world, port=40001)
    first = address_of(one.allocate(), stun.XOR_RELAYED_ADDRESS)
    second = address_of(two.allocate(), stun.XOR_RELAYED_ADDRESS)
    assert code_of(one.bind(0x4001, second)) == 0
    before = len(world.to_clients)
    one.channel_data(0x4001, b"early")
    assert len(world.to_clients) == before
    assert code_of(two.permit(RELAY_HOST)) == 0
    one.channel_data(0x4001, b"hello")
    destination, data = world.to_clients[-1]
    assert destination == two.source
    assert address_of(stun.decode(data), stun.XOR_PEER_ADDRESS) == first
    assert code_of(two.bind(0x4002, first)) == 0
    one.channel_data(0x4001, b"again")
    assert world.to_clients[-1] == (two.source, b"\x40\x02\x00\x05again")
    assert world.to_peers == []


def test_relay_that_has_ended_is_an_own_port_and_stays_unreachable() -> None:
    world = World()
    one, two = Caller(world), Caller(world, port=40001)
    one.allocate()
    second = address_of(two.allocate(), stun.XOR_RELAYED_ADDRESS)
    one.bind(0x4001, second)
    two.refresh(0)
    one.channel_data(0x4001, b"x")
    one.indicate(b"x", second)
    one.indicate(b"x", (RELAY_HOST, 3478))
    assert world.to_peers == []
    assert world.stats.dropped == {"own-port": 3}
    assert world.stats.packets_to_peers == 0
    assert world.refusals == [(one.relay, "own-port")]


def test_relay_of_another_process_is_reached_as_long_as_it_is_there() -> None:
    there = {49000}
    world = World(peers=msgspec.structs.replace(PEERS, sibling_ports=there))
    caller, sibling = Caller(world), (RELAY_HOST, 49000)
    caller.allocate()
    assert code_of(caller.bind(0x4001, sibling)) == 0
    assert code_of(caller.bind(0x4002, (RELAY_HOST, 49001))) == 403
    caller.channel_data(0x4001, b"x")
    caller.indicate(b"y", sibling)
    assert [data for _, _, data in world.to_peers] == [b"x", b"y"]
    assert not world.server.routes.up  # nobody would close it
    there.clear()
    caller.channel_data(0x4001, b"x")
    caller.indicate(b"y", sibling)
    assert len(world.to_peers) == 2
    assert world.stats.dropped == {"own-port": 2}


def test_loopback_server_reaches_own_ports_but_not_its_listener() -> None:
    peers = PeerRules(
        own=PEERS.own, advertised=PEERS.advertised, is_loopback_only=True, listener_ports=frozenset((3478,))
    )
    world = World(RULES, peers)
    caller = Caller(world)
    caller.allocate()
    assert code_of(caller.permit("127.0.0.1", RELAY_HOST)) == 0
    for peer_address in (("127.0.0.1", 5000), (RELAY_HOST, 5000), ("127.0.0.1", 3478), (RELAY_HOST, 3478)):
        caller.indicate(b"x", peer_address)
    assert [peer for _, peer, _ in world.to_peers] == [("127.0.0.1", 5000), (RELAY_HOST, 5000)]
    assert world.stats.dropped == {"own-port": 2}
    assert code_of(caller.permit("8.8.8.8")) == 403


def test_rate_is_held_in_each_direction() -> None:
    world = with_rules(bitrate_bps=8 * 2000)
    caller = bound(world)
    for _ in range(10):
        caller.channel_data(0x4000, bytes(300))
        world.from_peer(caller.relay, bytes(500), PEER)
    assert (world.stats.packets_to_peers, world.stats.packets_to_clients) == (3, 2)
    world.pass_time(1.0)
    caller.channel_data(0x4000, bytes(1000))
    assert world.stats.packets_to_peers == 4
    assert world.stats.dropped == {"rate": 15}


def test_rate_in_all_is_shared_by_all_allocations_and_both_directions() -> None:
    world = with_rules(total_bitrate_bps=8 * 2000, bitrate_bps=8 * 1600)
    one, two = bound(world), bound(world, 40001)
    one.channel_data(0x4000, bytes(500))
    world.from_peer(two.relay, bytes(500), PEER)
    two.channel_data(0x4000, bytes(1))
    world.from_peer(one.relay, bytes(1), PEER)
    one.channel_data(0x4000, bytes(400))
    assert (world.stats.packets_to_peers, world.stats.packets_to_clients) == (1, 1)
    assert world.stats.dropped == {"rate-in-all": 2, "rate": 1}
    world.pass_time(1.0)
    two.channel_data(0x4000, bytes(700))
    assert world.stats.packets_to_peers == 2


def test_peer_that_becomes_an_address_of_this_machine_is_judged_by_its_port() -> None:
    world = World()
    caller = bound(world)
    world.server.replace_addresses(PeerRules(advertised=frozenset((pack("8.8.8.8"),))), {IPV4: pack("8.8.8.8")})
    caller.channel_data(0x4000, b"x")
    assert world.to_peers == []
    assert world.stats.dropped == {"own-port": 1}
