"""Allocations of both families, and clients that go while their allocation is being made."""

import pytest

from media.turn import stun
from media.turn.address import IPV4, IPV6, pack
from tests.media.turn.world import RELAY_HOST, RELAY_HOST_V6, UDP, Caller, World, address_of, code_of, with_rules

V4, V6 = bytes((1, 0, 0, 0)), bytes((2, 0, 0, 0))
BOTH = (stun.ADDITIONAL_ADDRESS_FAMILY, V6)
FOUR, SIX = "8.8.8.8", "2606:4700::1111"


def dual(world: World, port: int = 40000) -> Caller:
    caller = Caller(world, port=port)
    assert code_of(caller.allocate([BOTH])) == 0
    return caller


def relayed(reply: stun.Message) -> list[tuple[str, int]]:
    return [
        address_of(
            stun.Message(reply.method, reply.kind, reply.transaction_id, [(stun.XOR_RELAYED_ADDRESS, value)]),
            stun.XOR_RELAYED_ADDRESS,
        )
        for value in reply.every(stun.XOR_RELAYED_ADDRESS)
    ]


def refresh(caller: Caller, family: bytes, lifetime_s: int) -> int:
    attributes = [(stun.REQUESTED_ADDRESS_FAMILY, family), (stun.LIFETIME, lifetime_s.to_bytes(4))]
    return code_of(caller.send(stun.REFRESH, attributes))


def test_dual_allocation_tells_two_addresses_on_one_port_and_retransmits_exactly() -> None:
    world = World()
    caller = dual(world)
    four, six = relayed(stun.decode(caller.last_reply))
    assert (four[0], six[0]) == (RELAY_HOST, RELAY_HOST_V6)
    assert four[1] == six[1]
    assert stun.decode(caller.last_reply).first(stun.ADDRESS_ERROR_CODE) is None
    assert sorted(each.family for each in world.relays.values()) == [IPV4, IPV6]
    assert caller.send_raw(caller.last_datagram) == [caller.last_reply]
    assert world.server.allocation_count == world.stats.allocations == 1


def test_even_port_of_a_dual_allocation_is_even_without_a_pair() -> None:
    world = World()
    assert code_of(Caller(world).allocate([BOTH, (stun.EVEN_PORT, b"\0")])) == 0
    assert all(each.port % 2 == 0 for each in world.relays.values())
    assert code_of(Caller(world, port=40001).allocate([BOTH, (stun.EVEN_PORT, b"\x80")])) == 400


@pytest.mark.parametrize("other", [(stun.REQUESTED_ADDRESS_FAMILY, V4), (stun.REQUESTED_ADDRESS_FAMILY, V6)])
def test_additional_family_excludes_a_requested_one(other: tuple[int, bytes]) -> None:
    assert code_of(Caller(World()).allocate([BOTH, other])) == 400


def test_number_that_coturn_has_for_the_additional_family_is_understood() -> None:
    reply = Caller(World()).allocate([(stun.COTURN_ADDITIONAL_ADDRESS_FAMILY, V6)])
    assert [each[0] for each in relayed(reply)] == [RELAY_HOST, RELAY_HOST_V6]


@pytest.mark.parametrize(("family", "host", "lacking"), [(IPV4, RELAY_HOST, IPV6), (IPV6, RELAY_HOST_V6, IPV4)])
def test_family_that_is_not_served_is_named_in_the_success(family: int, host: str, lacking: int) -> None:
    world = with_rules(relay_ips={family: pack(host)})
    reply = Caller(world).allocate([BOTH])
    assert code_of(reply) == 0
    assert [each[0] for each in relayed(reply)] == [host]
    value = reply.first(stun.ADDRESS_ERROR_CODE)
    assert value is not None
    assert value[:4] == bytes((lacking, 0, 4, 40))


@pytest.mark.parametrize(("lacking", "host"), [(IPV6, RELAY_HOST), (IPV4, RELAY_HOST_V6)])
def test_family_without_a_port_is_named_and_the_other_given(lacking: int, host: str) -> None:
    world = World()
    world.taken = {(lacking, port) for port in range(50000, 50100)}
    caller = Caller(world)
    reply = caller.allocate([BOTH])
    assert [each[0] for each in relayed(reply)] == [host]
    assert (reply.first(stun.ADDRESS_ERROR_CODE) or b"")[:4] == bytes((lacking, 0, 5, 8))
    caller.refresh(0)
    assert world.server._lifecycle._ports.free_count == 100


def test_both_families_without_a_port_give_508_and_hold_nothing() -> None:
    world = with_rules(allocations_per_key=1)
    world.taken_ports = set(range(50000, 50100))
    caller = Caller(world)
    assert code_of(caller.allocate([BOTH])) == 508
    assert world.server._lifecycle._ports.free_count == 100
    world.taken_ports = set()
    assert code_of(caller.allocate([BOTH])) == 0


def test_last_port_is_lost_for_the_second_family_after_the_first_failed() -> None:
    world = with_rules(first_port=50000, last_port=50000)
    world.taken = {(IPV4, 50000)}
    assert code_of(Caller(world).allocate([BOTH])) == 0
    world = with_rules(first_port=50000, last_port=50001)
    other = Caller(world, port=1)
    other.allocate()
    world.taken_ports = {50000, 50001}
    assert code_of(Caller(world).allocate([BOTH])) == 508


def test_families_on_different_ports_give_both_back() -> None:
    world = with_rules(first_port=50000, last_port=50001)
    caller = Caller(world)
    world.taken = {(IPV6, 50000), (IPV4, 50001)}
    four, six = relayed(caller.allocate([BOTH]))
    assert (four[1], six[1]) == (50000, 50001)
    assert code_of(Caller(world, port=1).allocate()) == 508
    assert refresh(caller, V6, 0) == 0
    assert world.server._lifecycle._ports.free_count == 1
    caller.refresh(0)
    assert world.server._lifecycle._ports.free_count == 2


def test_dual_allocation_relays_to_peers_of_both_families() -> None:
    world = World()
    caller = dual(world)
    assert code_of(caller.permit(FOUR, SIX)) == 0
    assert code_of(caller.bind(0x4000, (FOUR, 1))) == 0
    assert code_of(caller.bind(0x4001, (SIX, 1))) == 0
    for number in (0x4000, 0x4001):
        caller.channel_data(number, b"x")
    caller.indicate(b"y", (SIX, 2))
    families = [world.relays[relay].family for relay, _, _ in world.to_peers]
    assert families == [IPV4, IPV6, IPV6]
    for relay, opened in world.relays.items():
        peer = (FOUR, 1) if opened.family == IPV4 else (SIX, 1, 0, 0)
        world.from_peer(relay, b"z", peer)
    assert [data[:2] for _, data in world.to_clients[-2:]] == [b"\x40\x00", b"\x40\x01"]


@pytest.mark.parametrize(("family", "other"), [(V4, V6), (V6, V4)])
def test_refresh_of_one_family_ends_it_alone_with_its_permissions(family: bytes, other: bytes) -> None:
    world = World()
    caller = dual(world)
    caller.permit(FOUR, SIX)
    caller.bind(0x4000, (FOUR, 1))
    caller.bind(0x4001, (SIX, 1))
    gone, kept = ((FOUR, SIX), (SIX, FOUR))[family == V6]
    assert refresh(caller, family, 0) == 0
    assert len(world.relays) == 1
    assert world.server.has_allocation((0, caller.source))
    caller.channel_data(0x4000, b"x")
    caller.channel_data(0x4001, b"x")
    caller.indicate(b"y", (gone, 1))
    assert [peer[0] for _, peer, _ in world.to_peers] == [kept]
    assert code_of(caller.permit(gone)) == code_of(caller.bind(0x4002, (gone, 1))) == 443
    assert code_of(caller.permit(kept)) == 0
    assert refresh(caller, family, 600) == 443
    assert refresh(caller, other, 600) == 0
    assert code_of(caller.allocate()) == 437
    assert code_of(caller.refresh(0)) == 0
    assert world.relays == {}
    assert world.server._lifecycle._ports.free_count == 100
    assert world.server._lifecycle._desk._quotas._keys == {}


def test_each_family_ends_with_its_own_lifetime() -> None:
    world = World()
    caller = dual(world)
    world.pass_time(300.0)
    assert refresh(caller, V6, 3600) == 0
    world.pass_time(299.0)
    assert len(world.relays) == 2
    world.pass_time(1.0)
    assert [each.family for each in world.relays.values()] == [IPV6]
    assert code_of(caller.permit(FOUR)) == 443
    world.pass_time(3299.0)
    assert len(world.relays) == 1
    world.pass_time(1.0)
    assert world.relays == {}


def test_refresh_without_a_family_is_for_both() -> None:
    world = World()
    caller = dual(world)
    world.pass_time(500.0)
    assert caller.refresh().first(stun.LIFETIME) == (600).to_bytes(4)
    world.pass_time(599.0)
    assert len(world.relays) == 2
    assert code_of(caller.refresh(0)) == 0
    assert world.relays == {}


def test_client_that_is_gone_loses_its_allocation_and_its_sockets() -> None:
    world = World()
    caller, other = dual(world), dual(world, 40001)
    client = (0, caller.source)
    assert world.server.has_allocation(client)
    world.perform(world.server.client_gone(client, world.now))
    assert not world.server.has_allocation(client)
    assert world.server.has_allocation((0, other.source))
    assert len(world.relays) == 2
    world.perform(world.server.client_gone(client, world.now))
    assert code_of(caller.allocate()) == 0


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("end", ["gone", "revoked"])
@pytest.mark.parametrize("opened_before", [0, 1])
def test_client_that_goes_while_its_sockets_open_gets_nothing(is_open: bool, end: str, opened_before: int) -> None:
    world = World()
    caller = Caller(world, username="a@red")
    caller.challenge()
    world.holds_opening = True
    assert caller.send_raw(caller.build(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), BOTH])) == []
    for relay in range(1, opened_before + 1):
        world.perform(world.server.relay_opened(relay, True, world.now))
    assert world.server.has_allocation((0, caller.source))
    if end == "gone":
        world.perform(world.server.client_gone((0, caller.source), world.now))
    else:
        world.perform(world.server.revoke(b"red"))
    assert not world.server.has_allocation((0, caller.source))
    last = opened_before + 1
    if not is_open:
        del world.relays[last]
    before = len(world.to_clients)
    world.perform(world.server.relay_opened(last, is_open, world.now))
    assert world.relays == {}
    assert len(world.to_clients) == before
    assert world.server.allocation_count == 0
    assert world.server._lifecycle._ports.free_count == 100
    assert world.server._lifecycle._desk._quotas._keys == {}


def test_cancelled_pair_frees_its_reservation() -> None:
    world = World()
    caller = Caller(world)
    caller.challenge()
    world.holds_opening = True
    caller.send_raw(caller.build(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), (stun.EVEN_PORT, b"\x80")]))
    assert world.server.next_deadline() == world.now + 30
    world.perform(world.server.client_gone((0, caller.source), world.now))
    world.perform(world.server.relay_opened(1, True, world.now))
    assert world.server._lifecycle._ports.free_count == 100
    assert world.server.next_deadline() is None


def test_usage_is_told_per_quota_key_and_survives_the_allocation() -> None:
    world = World()
    caller = Caller(world, username="a@red")
    caller.allocate()
    caller.bind(0x4000)
    caller.channel_data(0x4000, b"four")
    world.from_peer(caller.relay, b"down", ("8.8.8.8", 5000))
    world.from_peer(caller.relay, b"down", ("8.8.8.8", 5001))
    usage = world.server.usage()[b"red"]
    assert (usage.allocations, usage.bytes_to_peers, usage.bytes_to_clients) == (1, 4, 8)
    caller.refresh(0)
    assert world.server.usage()[b"red"].allocations == 0
    assert world.server.usage()[b"red"].bytes_to_peers == 4
