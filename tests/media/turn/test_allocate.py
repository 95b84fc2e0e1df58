"""Allocate: every attribute absent, malformed, out of range; ports, pairs, tokens, quotas."""

import pytest

from media.turn import stun
from media.turn.address import IPV4, pack
from tests.media.turn.world import RELAY_HOST, RELAY_HOST_V6, UDP, Caller, World, address_of, code_of, with_rules

V4, V6 = bytes((1, 0, 0, 0)), bytes((2, 0, 0, 0))


def test_success_tells_relayed_and_mapped_address_and_lifetime() -> None:
    world = World()
    caller = Caller(world)
    reply = caller.allocate()
    assert code_of(reply) == 0
    host, port = address_of(reply, stun.XOR_RELAYED_ADDRESS)
    assert host == RELAY_HOST
    assert 50000 <= port <= 50099
    assert world.relays[caller.relay].port == port
    assert address_of(reply, stun.XOR_MAPPED_ADDRESS) == ("203.0.113.5", 40000)
    assert reply.first(stun.LIFETIME) == (600).to_bytes(4)
    assert reply.first(stun.RESERVATION_TOKEN) is None
    assert stun.has_integrity(reply, caller.key)


@pytest.mark.parametrize(
    ("asked", "granted"), [(0, 600), (1, 600), (599, 600), (601, 601), (3600, 3600), (3601, 3600), (2**32 - 1, 3600)]
)
def test_lifetime_is_kept_between_600_and_3600_seconds(asked: int, granted: int) -> None:
    reply = Caller(World()).allocate([(stun.LIFETIME, asked.to_bytes(4))])
    assert reply.first(stun.LIFETIME) == granted.to_bytes(4)


def test_server_may_cap_the_lifetime_lower() -> None:
    reply = Caller(with_rules(max_lifetime_s=120)).allocate()
    assert reply.first(stun.LIFETIME) == (120).to_bytes(4)


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ([], 400),
        ([(stun.REQUESTED_TRANSPORT, b"\x11\0\0")], 400),
        ([(stun.REQUESTED_TRANSPORT, b"\x11\0\0\0\0")], 400),
        ([(stun.REQUESTED_TRANSPORT, bytes((6, 0, 0, 0)))], 442),
        ([(stun.REQUESTED_TRANSPORT, bytes(4))], 442),
        ([(stun.REQUESTED_TRANSPORT, bytes((6, 0, 0, 0))), (stun.REQUESTED_TRANSPORT, UDP)], 442),
        ([(stun.REQUESTED_TRANSPORT, UDP), (stun.REQUESTED_TRANSPORT, bytes((6, 0, 0, 0)))], 0),
        ([(stun.REQUESTED_TRANSPORT, b"\x11\xff\xff\xff")], 0),
    ],
)
def test_transport_must_be_udp(attributes: list[tuple[int, bytes]], code: int) -> None:
    caller = Caller(World())
    caller.challenge()
    assert code_of(caller.send(stun.ALLOCATE, attributes)) == code


@pytest.mark.parametrize(
    ("attribute", "value", "code"),
    [
        (stun.LIFETIME, b"", 400),
        (stun.LIFETIME, bytes(3), 400),
        (stun.LIFETIME, bytes(5), 400),
        (stun.DONT_FRAGMENT, b"", 0),
        (stun.DONT_FRAGMENT, b"x", 400),
        (stun.EVEN_PORT, b"", 400),
        (stun.EVEN_PORT, b"\0", 0),
        (stun.EVEN_PORT, b"\x7f", 0),
        (stun.EVEN_PORT, b"\x80", 0),
        (stun.EVEN_PORT, b"\0\0", 400),
        (stun.RESERVATION_TOKEN, b"", 400),
        (stun.RESERVATION_TOKEN, bytes(7), 400),
        (stun.RESERVATION_TOKEN, bytes(9), 400),
        (stun.RESERVATION_TOKEN, bytes(8), 508),
        (stun.REQUESTED_ADDRESS_FAMILY, b"", 400),
        (stun.REQUESTED_ADDRESS_FAMILY, V4, 0),
        (stun.REQUESTED_ADDRESS_FAMILY, V6, 0),
        (stun.REQUESTED_ADDRESS_FAMILY, V4 + b"x", 400),
        (stun.REQUESTED_ADDRESS_FAMILY, bytes(4), 440),
        (stun.REQUESTED_ADDRESS_FAMILY, bytes((3, 0, 0, 0)), 440),
        (stun.ADDITIONAL_ADDRESS_FAMILY, b"", 400),
        (stun.ADDITIONAL_ADDRESS_FAMILY, V6 + b"x", 400),
        (stun.ADDITIONAL_ADDRESS_FAMILY, V4, 400),
        (stun.ADDITIONAL_ADDRESS_FAMILY, bytes((3, 0, 0, 0)), 400),
        (stun.CHANNEL_NUMBER, b"", 0),
        (stun.DATA, b"stray", 0),
        (stun.SOFTWARE, b"client", 0),
        (0x7ABC, b"", 420),
        (0x001B, bytes(32), 420),
    ],
)
def test_attribute_is_judged(attribute: int, value: bytes, code: int) -> None:
    world = World()
    assert code_of(Caller(world).allocate([(attribute, value)])) == code
    assert len(world.relays) == (code == 0)


def test_ipv6_relay_is_given_when_asked_for() -> None:
    reply = Caller(World()).allocate([(stun.REQUESTED_ADDRESS_FAMILY, V6)])
    assert address_of(reply, stun.XOR_RELAYED_ADDRESS)[0] == RELAY_HOST_V6


def test_family_without_a_relay_address_gets_440() -> None:
    world = with_rules(relay_ips={IPV4: pack(RELAY_HOST)})
    assert code_of(Caller(world).allocate([(stun.REQUESTED_ADDRESS_FAMILY, V6)])) == 440


def test_dont_fragment_reaches_the_socket() -> None:
    world = World()
    first, second = Caller(world), Caller(world, port=40001)
    first.allocate([(stun.DONT_FRAGMENT, b"")])
    second.allocate()
    assert world.relays[first.relay].is_unfragmented
    assert not world.relays[second.relay].is_unfragmented


def test_even_port_is_even() -> None:
    world = World()
    ports = set()
    for port in range(20):
        reply = Caller(world, port=port).allocate([(stun.EVEN_PORT, b"\0")])
        assert reply.first(stun.RESERVATION_TOKEN) is None
        ports.add(address_of(reply, stun.XOR_RELAYED_ADDRESS)[1])
    assert len(ports) == 20
    assert all(port % 2 == 0 for port in ports)


@pytest.mark.parametrize("family", [V4, V6])
def test_token_gives_the_next_port_of_the_same_family(family: bytes) -> None:
    world = World()
    reply = Caller(world).allocate([(stun.EVEN_PORT, b"\x80"), (stun.REQUESTED_ADDRESS_FAMILY, family)])
    token = reply.first(stun.RESERVATION_TOKEN)
    assert token is not None
    host, port = address_of(reply, stun.XOR_RELAYED_ADDRESS)
    second = Caller(world, port=40001).allocate([(stun.RESERVATION_TOKEN, token)])
    assert address_of(second, stun.XOR_RELAYED_ADDRESS) == (host, port + 1)
    assert code_of(Caller(world, port=40002).allocate([(stun.RESERVATION_TOKEN, token)])) == 508


def test_token_lives_30_seconds() -> None:
    for age, code in ((29.0, 0), (30.0, 508)):
        world = World()
        token = Caller(world).allocate([(stun.EVEN_PORT, b"\x80")]).first(stun.RESERVATION_TOKEN)
        assert token is not None
        world.pass_time(age)
        assert code_of(Caller(world, port=40001).allocate([(stun.RESERVATION_TOKEN, token)])) == code


def test_allocate_with_a_token_retransmits_exactly_and_the_token_serves_once() -> None:
    world = World()
    token = Caller(world).allocate([(stun.EVEN_PORT, b"\x80")]).first(stun.RESERVATION_TOKEN)
    assert token is not None
    second, third = Caller(world, port=40001), Caller(world, port=40002)
    assert code_of(second.allocate([(stun.RESERVATION_TOKEN, token)])) == 0
    for _ in range(2):
        assert second.send_raw(second.last_datagram) == [second.last_reply]
    # turnutils_uclient -O leaves its socket now and then and brings the token from another one
    assert code_of(third.allocate([(stun.RESERVATION_TOKEN, token)])) == 508
    assert third.send_raw(third.last_datagram) == [third.last_reply]
    assert second.send_raw(second.last_datagram) == [second.last_reply]
    assert world.stats.refused_allocations == {"dead-token": 2}


def test_token_of_another_worker_is_refused_knowingly() -> None:
    world, other = World(), with_rules(worker=7)
    token = Caller(other).allocate([(stun.EVEN_PORT, b"\x80")]).first(stun.RESERVATION_TOKEN)
    assert token is not None
    assert code_of(Caller(world).allocate([(stun.RESERVATION_TOKEN, token)])) == 508
    assert world.stats.refused_allocations == {"foreign-token": 1}
    assert world.server.allocation_count == 0


def test_every_refusal_of_an_allocation_is_counted_by_its_reason() -> None:
    world = with_rules(allocations_per_key=1, allocations_per_source=2, allocations_in_all=3, last_port=50002)
    for number, (host, key) in enumerate((("1", "a"), ("1", "a"), ("1", "b"), ("1", "c"), ("2", "d"), ("2", "e"))):
        Caller(world, host=f"203.0.113.{host}", port=number, username=f"x@{key}").allocate()
    assert world.stats.refused_allocations == {"key-quota": 1, "source-quota": 1, "full": 1}
    world = with_rules(last_port=50000)
    world.taken_ports = {50000}
    Caller(world).allocate()
    world.server.drain(None)
    Caller(world).allocate()
    assert world.stats.refused_allocations == {"no-socket": 1, "draining": 1}
    world = with_rules(last_port=50000)
    for number in range(2):
        Caller(world, port=number).allocate()
    assert world.stats.refused_allocations == {"no-port": 1}


def test_token_of_another_quota_key_is_refused() -> None:
    world = World()
    token = Caller(world, username="a@red").allocate([(stun.EVEN_PORT, b"\x80")]).first(stun.RESERVATION_TOKEN)
    assert token is not None
    thief = Caller(world, port=40001, username="b@blue")
    assert code_of(thief.allocate([(stun.RESERVATION_TOKEN, token)])) == 508


@pytest.mark.parametrize(
    "other",
    [(stun.EVEN_PORT, b"\0"), (stun.REQUESTED_ADDRESS_FAMILY, V4), (stun.ADDITIONAL_ADDRESS_FAMILY, V6)],
)
def test_token_excludes_even_port_and_family(other: tuple[int, bytes]) -> None:
    assert code_of(Caller(World()).allocate([(stun.RESERVATION_TOKEN, bytes(8)), other])) == 400


def test_51st_allocation_of_a_quota_key_gets_486() -> None:
    world = World()
    callers = [Caller(world, port=40000 + number, username=f"{number}@red") for number in range(51)]
    assert [code_of(caller.allocate()) for caller in callers] == [0] * 50 + [486]
    assert code_of(Caller(world, port=1, username="x@blue").allocate()) == 0
    callers[0].refresh(0)
    assert code_of(callers[50].allocate()) == 0


def test_source_has_a_quota_of_its_own() -> None:
    world = with_rules(allocations_per_source=2)
    callers = [Caller(world, port=40000 + number, username=f"{number}@{number}") for number in range(3)]
    assert [code_of(caller.allocate()) for caller in callers] == [0, 0, 486]
    assert code_of(Caller(world, host="203.0.113.6").allocate()) == 0
    callers[0].refresh(0)
    assert code_of(callers[2].allocate()) == 0


def test_server_that_has_enough_gives_508() -> None:
    world = with_rules(allocations_in_all=2)
    callers = [Caller(world, port=40000 + number, username=f"{number}@{number}") for number in range(3)]
    assert [code_of(caller.allocate()) for caller in callers] == [0, 0, 508]
    world.pass_time(600.0)
    assert code_of(callers[2].allocate()) == 0


@pytest.mark.parametrize(
    "bound", [{"allocations_per_key": 1}, {"allocations_per_source": 1}, {"allocations_in_all": 1}]
)
def test_refusal_by_a_quota_leaves_no_state(bound: dict[str, int]) -> None:
    world = with_rules(**bound)
    first, second = Caller(world), Caller(world, port=40001)
    first.allocate()
    for attributes in ([], [(stun.EVEN_PORT, b"\x80")], [(stun.ADDITIONAL_ADDRESS_FAMILY, V6)]):
        assert code_of(second.allocate(attributes)) in (486, 508)
    assert world.server._lifecycle._ports.free_count == 99
    assert len(world.relays) == world.server.allocation_count == 1
    first.refresh(0)
    assert code_of(second.allocate()) == 0


def test_range_without_a_free_port_gives_508_and_takes_no_quota() -> None:
    world = with_rules(first_port=50000, last_port=50001, allocations_per_key=3)
    callers = [Caller(world, port=40000 + number) for number in range(6)]
    assert [code_of(caller.allocate()) for caller in callers] == [0, 0, 508, 508, 508, 508]
    callers[0].refresh(0)
    assert code_of(callers[2].allocate()) == 0


def test_range_without_a_free_pair_gives_508() -> None:
    world = with_rules(first_port=50001, last_port=50001)
    assert code_of(Caller(world).allocate([(stun.EVEN_PORT, b"\0")])) == 508
    assert code_of(Caller(world).allocate()) == 0


def test_port_that_somebody_else_has_is_passed_over() -> None:
    world = with_rules(first_port=50000, last_port=50003)
    world.taken_ports = {50000, 50001, 50002}
    reply = Caller(world).allocate()
    assert address_of(reply, stun.XOR_RELAYED_ADDRESS)[1] == 50003


def test_pair_whose_even_port_is_taken_is_chosen_anew() -> None:
    world = with_rules(first_port=50000, last_port=50003)
    world.taken_ports = {50000}
    reply = Caller(world).allocate([(stun.EVEN_PORT, b"\x80")])
    assert address_of(reply, stun.XOR_RELAYED_ADDRESS)[1] == 50002
    assert reply.first(stun.RESERVATION_TOKEN) is not None


def test_range_that_cannot_be_opened_gives_508_after_a_few_tries() -> None:
    world = with_rules(allocations_per_key=1)
    world.taken_ports = set(range(50000, 50100))
    caller = Caller(world)
    reply = caller.allocate()
    assert code_of(reply) == 508
    assert stun.has_integrity(reply, caller.key)
    assert world.server.allocation_count == 0
    world.taken_ports = set()
    assert code_of(caller.allocate()) == 0


def test_reserved_port_that_cannot_be_opened_gives_508() -> None:
    world = World()
    reply = Caller(world).allocate([(stun.EVEN_PORT, b"\x80")])
    world.taken_ports = {address_of(reply, stun.XOR_RELAYED_ADDRESS)[1] + 1}
    token = reply.first(stun.RESERVATION_TOKEN)
    assert token is not None
    assert code_of(Caller(world, port=40001).allocate([(stun.RESERVATION_TOKEN, token)])) == 508


def test_lifetime_of_zero_is_capped_too() -> None:
    reply = Caller(with_rules(max_lifetime_s=120)).allocate([(stun.LIFETIME, bytes(4))])
    assert reply.first(stun.LIFETIME) == (120).to_bytes(4)


def test_reserved_ports_count_for_the_quota_of_who_reserved_them() -> None:
    world = with_rules(allocations_per_key=4)
    greedy = Caller(world, username="a@red")
    codes = []
    for _ in range(20):
        codes.append(code_of(greedy.allocate([(stun.EVEN_PORT, b"\x80")])))
        greedy.refresh(0)
    assert codes == [0] * 3 + [486] * 17
    assert code_of(greedy.allocate()) == 0
    assert code_of(Caller(world, port=40001, username="b@blue").allocate([(stun.EVEN_PORT, b"\x80")])) == 0
    greedy.refresh(0)
    world.pass_time(30.0)
    assert code_of(greedy.allocate([(stun.EVEN_PORT, b"\x80")])) == 0


def test_reserved_port_is_redeemed_by_who_has_a_full_quota_otherwise() -> None:
    world = with_rules(allocations_per_key=2)
    token = Caller(world, username="a@red").allocate([(stun.EVEN_PORT, b"\x80")]).first(stun.RESERVATION_TOKEN)
    assert token is not None
    second, third = Caller(world, port=40001, username="b@red"), Caller(world, port=40002, username="c@red")
    assert code_of(third.allocate()) == 486
    assert code_of(second.allocate([(stun.RESERVATION_TOKEN, token)])) == 0
    assert code_of(third.allocate()) == 486
