"""The TURN core: life of an allocation, what is silent, what is answered."""

import msgspec
import pytest

from media.turn import stun
from media.turn.address import IPV4, pack
from media.turn.policy import PeerRules
from tests.media.turn.world import (
    PEER,
    PEERS,
    RELAY_HOST,
    RULES,
    UDP,
    Caller,
    World,
    address_of,
    code_of,
    with_rules,
)


def test_binding_tells_the_mapped_address_in_32_bytes() -> None:
    caller = Caller(World())
    reply = caller.send(stun.BINDING, [], is_signed=False)
    assert address_of(reply, stun.XOR_MAPPED_ADDRESS) == ("203.0.113.5", 40000)
    assert len(reply.attributes) == 1
    assert len(caller.last_reply) == 32


def test_binding_of_an_ipv6_client_tells_its_ipv6_address() -> None:
    reply = Caller(World(), host="2600::5").send(stun.BINDING, [], is_signed=False)
    assert address_of(reply, stun.XOR_MAPPED_ADDRESS) == ("2600::5", 40000)


def test_fingerprint_is_in_the_reply_only_when_it_was_in_the_request() -> None:
    caller = Caller(World())
    request = caller.message(stun.BINDING, [])
    assert not stun.decode(caller.send_raw(stun.encode(request))[0]).has_fingerprint
    request.has_fingerprint = True
    assert stun.decode(caller.send_raw(stun.encode(request))[0]).has_fingerprint


def test_binding_with_an_unknown_required_attribute_gets_420_with_its_type() -> None:
    reply = Caller(World()).send(stun.BINDING, [(0x0024, bytes(4)), (0x7ABC, b"")], is_signed=False)
    assert code_of(reply) == 420
    assert reply.first(stun.UNKNOWN_ATTRIBUTES) == bytes.fromhex("00247abc")


def test_retransmitted_allocate_gets_the_same_bytes_and_another_one_437() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    first = caller.last_reply
    assert caller.send_raw(caller.last_datagram) == [first]
    world.pass_time(5.0)
    assert caller.send_raw(caller.last_datagram) == [first]
    assert code_of(caller.allocate()) == 437
    assert len(world.relays) == 1


@pytest.mark.parametrize("ask", ["refresh", "permit", "bind"])
def test_other_retransmits_get_the_same_bytes(ask: str) -> None:
    caller = Caller(World())
    caller.allocate()
    reply = {"refresh": caller.refresh, "permit": lambda: caller.permit("8.8.8.8"), "bind": lambda: caller.bind(0x4000)}
    assert code_of(reply[ask]()) == 0
    assert caller.send_raw(caller.last_datagram) == [caller.last_reply]


def test_retransmit_while_the_relay_is_being_opened_is_dropped() -> None:
    world = World()
    caller = Caller(world)
    caller.challenge()
    world.holds_opening = True
    datagram = caller.build(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)])
    assert caller.send_raw(datagram) == []
    assert caller.send_raw(datagram) == []
    assert len(world.relays) == world.server.allocation_count == 1
    assert world.stats.dropped == {"being-opened": 1}
    world.perform(world.server.relay_opened(1, True, world.now))
    assert caller.send_raw(datagram) == [world.to_clients[-1][1]]
    assert len(world.to_clients) == 3
    assert world.server.allocation_count == 1


def test_allocation_ends_with_its_lifetime() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    assert world.server.next_deadline() == world.now + 600
    world.pass_time(599.0)
    assert len(world.relays) == 1
    world.pass_time(1.0)
    assert world.relays == {}
    assert world.stats.allocations == 0
    assert world.server.next_deadline() is None
    assert code_of(caller.refresh()) == 437


@pytest.mark.parametrize("lifetime_s", [600, 3600])
@pytest.mark.parametrize("is_refreshed", [False, True])
def test_allocation_lives_as_long_as_it_was_told_and_no_second_longer(lifetime_s: int, is_refreshed: bool) -> None:
    world = World()
    caller = Caller(world)
    caller.allocate([] if is_refreshed else [(stun.LIFETIME, lifetime_s.to_bytes(4))])
    if is_refreshed:
        caller.refresh(lifetime_s)
    world.pass_time(lifetime_s - 1.0)
    assert len(world.relays) == 1
    assert world.server.has_allocation((0, caller.source))
    world.pass_time(1.0)
    assert world.relays == {}
    assert not world.server.has_allocation((0, caller.source))


def test_datagram_after_the_end_finds_no_allocation_even_before_the_timer() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    caller.bind(0x4000)
    world.now += 600
    caller.channel_data(0x4000, b"late")
    assert world.relays == {}
    assert world.to_peers == []


def test_refreshed_allocation_lives_on() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    world.pass_time(500.0)
    caller.refresh()
    world.pass_time(599.0)
    assert len(world.relays) == 1
    world.pass_time(1.0)
    assert world.relays == {}


def test_allocation_that_is_refreshed_for_less_ends_sooner() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate([(stun.LIFETIME, (3600).to_bytes(4))])
    world.pass_time(60.0)
    assert caller.refresh(600).first(stun.LIFETIME) == (600).to_bytes(4)
    assert world.server.next_deadline() == world.now + 600
    world.pass_time(599.0)
    assert len(world.relays) == 1
    world.now += 1.0
    caller.channel_data(0x4000, b"late")
    assert world.relays == {}


def test_refresh_of_zero_ends_the_allocation_and_another_one_may_follow() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    reply = caller.refresh(0)
    assert reply.first(stun.LIFETIME) == bytes(4)
    assert world.relays == {}
    assert code_of(caller.refresh(0)) == 437
    assert code_of(caller.allocate()) == 0
    world.pass_time(599.0)
    assert len(world.relays) == 1


def test_same_address_on_another_listener_is_another_client() -> None:
    world = World()
    first, second = Caller(world), Caller(world, listener=1)
    assert code_of(first.allocate()) == 0
    assert code_of(second.allocate()) == 0
    assert len(world.relays) == 2


def test_draining_server_refuses_allocations_and_refreshes_the_old_ones() -> None:
    world = World()
    caller, late = Caller(world), Caller(world, port=40001)
    caller.allocate()
    world.server.drain(None)
    assert code_of(late.allocate()) == 508
    assert code_of(caller.refresh()) == 0


def test_draining_server_names_an_alternate_of_the_client_family() -> None:
    world = World()
    caller, late, six = Caller(world), Caller(world, port=40001), Caller(world, host="2600::5")
    caller.allocate()
    world.server.drain((pack("198.51.100.9"), 3478))
    reply = late.allocate()
    assert code_of(reply) == 300
    assert reply.first(stun.ALTERNATE_SERVER) == stun.plain_address(pack("198.51.100.9"), 3478)
    assert stun.has_integrity(reply, late.key)
    assert code_of(six.allocate()) == 508
    assert code_of(caller.refresh()) == 0


def test_new_addresses_of_the_machine_count_for_new_allocations() -> None:
    world = World()
    old, new = Caller(world), Caller(world, port=40001)
    assert address_of(old.allocate(), stun.XOR_RELAYED_ADDRESS)[0] == RELAY_HOST
    peers = PeerRules(advertised=frozenset((pack("9.9.9.9"),)))
    world.server.replace_addresses(peers, {IPV4: pack("9.9.9.9")})
    assert address_of(new.allocate(), stun.XOR_RELAYED_ADDRESS)[0] == "9.9.9.9"
    assert code_of(old.permit("9.9.9.9")) == 0
    old.refresh(0)
    assert len(world.relays) == 1


def test_peers_that_new_addresses_forbid_are_closed_and_the_others_stay() -> None:
    world = World()
    caller = Caller(world)
    caller.allocate()
    caller.permit("9.9.9.9")
    for number, host in ((0x4000, "8.8.8.8"), (0x4001, "8.8.4.4")):
        assert code_of(caller.bind(number, (host, 1))) == 0
    lost = frozenset(map(pack, ("8.8.8.8", "9.9.9.9")))
    world.server.replace_addresses(msgspec.structs.replace(PEERS, broadcasts=lost), RULES.relay_ips)
    for host in ("9.9.9.9", "8.8.8.8", "8.8.4.4"):
        caller.indicate(b"x", (host, 2))
        world.from_peer(caller.relay, b"y", (host, 1))
    for number in (0x4000, 0x4001):
        caller.channel_data(number, b"z")
    assert [(peer, data) for _, peer, data in world.to_peers] == [(("8.8.4.4", 2), b"x"), (("8.8.4.4", 1), b"z")]
    assert world.stats.packets_to_clients == 1
    assert code_of(caller.bind(0x4000, ("8.8.4.4", 2))) == 0


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "noise"),
        (b"\x10hello", "noise"),
        (b"\x16\xfe\xfd", "noise"),
        (b"\x80\x60rtp", "noise"),
        (b"\x50\x00\x00\x00", "noise"),
        (b"\x00\x01\x00\x00", "malformed"),
        (b"\x40\x00\x00\x00", "no-allocation"),
    ],
)
def test_noise_is_dropped_silently(datagram: bytes, reason: str) -> None:
    world = World()
    assert world.receive(datagram, ("203.0.113.5", 1)) == []
    assert world.stats.dropped == {reason: 1}


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (0x00A, stun.REQUEST),
        (stun.SEND, stun.REQUEST),
        (stun.BINDING, stun.INDICATION),
        (stun.ALLOCATE, stun.INDICATION),
        (stun.DATA_METHOD, stun.INDICATION),
        (stun.BINDING, stun.SUCCESS),
        (stun.BINDING, stun.ERROR),
    ],
)
def test_messages_that_no_client_sends_are_dropped_silently(method: int, kind: int) -> None:
    world = World()
    datagram = stun.encode(stun.Message(method, kind, bytes(12), []))
    assert world.receive(datagram, ("203.0.113.5", 1)) == []
    assert world.stats.dropped == {"unexpected": 1}


def test_legacy_channel_numbers_are_noise_unless_allowed() -> None:
    strict, lenient = World(), with_rules(last_channel_number=0x7FFE)
    for world in (strict, lenient):
        caller = Caller(world)
        caller.allocate()
        caller.bind(0x5001)
        caller.channel_data(0x5001, b"old")
    assert strict.to_peers == []
    assert [data for _, _, data in lenient.to_peers] == [b"old"]


def test_rules_have_the_limits_of_the_service_by_default() -> None:
    assert msgspec.structs.asdict(RULES)["allocations_per_key"] == 50
    assert RULES.bitrate_bps == 5_000_000
    assert PEER[1] > 0
