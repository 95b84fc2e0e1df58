"""Refresh, CreatePermission and ChannelBind: every attribute, every peer, every bound."""

import pytest

from media.turn import stun
from media.turn.address import IPV6, pack
from tests.media.turn.world import PEER, RELAY_HOST, UDP, Caller, World, address_of, code_of, with_rules

V4, V6 = bytes((1, 0, 0, 0)), bytes((2, 0, 0, 0))


def allocated(world: World | None = None, family: bytes = V4) -> Caller:
    caller = Caller(World() if world is None else world)
    assert code_of(caller.allocate([(stun.REQUESTED_ADDRESS_FAMILY, family)])) == 0
    return caller


@pytest.mark.parametrize(
    ("attributes", "code", "lifetime_s"),
    [
        ([], 0, 600),
        ([(stun.LIFETIME, (10).to_bytes(4))], 0, 600),
        ([(stun.LIFETIME, (700).to_bytes(4))], 0, 700),
        ([(stun.LIFETIME, (10**6).to_bytes(4))], 0, 3600),
        ([(stun.LIFETIME, bytes(4))], 0, 0),
        ([(stun.LIFETIME, (700).to_bytes(4)), (stun.LIFETIME, bytes(4))], 0, 700),
        ([(stun.LIFETIME, b"")], 400, None),
        ([(stun.LIFETIME, bytes(8))], 400, None),
        ([(stun.REQUESTED_ADDRESS_FAMILY, V4)], 0, 600),
        ([(stun.REQUESTED_ADDRESS_FAMILY, V6)], 443, None),
        ([(stun.REQUESTED_ADDRESS_FAMILY, bytes(4))], 443, None),
        ([(stun.REQUESTED_ADDRESS_FAMILY, b"")], 400, None),
        ([(stun.DATA, b"stray")], 0, 600),
    ],
)
def test_refresh_is_judged(attributes: list[tuple[int, bytes]], code: int, lifetime_s: int | None) -> None:
    world = World()
    caller = allocated(world)
    reply = caller.send(stun.REFRESH, attributes)
    assert code_of(reply) == code
    assert reply.first(stun.LIFETIME) == (None if lifetime_s is None else lifetime_s.to_bytes(4))
    assert len(world.relays) == (lifetime_s != 0)


def test_failed_refresh_extends_nothing() -> None:
    world = World()
    caller = allocated(world)
    world.pass_time(100.0)
    caller.send(stun.REFRESH, [(stun.LIFETIME, b"")])
    world.pass_time(500.0)
    assert world.relays == {}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, 400),
        (b"", 400),
        (bytes(7), 400),
        (bytes((0, 3)) + bytes(6), 400),
        (bytes((0, 2)) + bytes(6), 400),
        (bytes((0, 1)) + bytes(18), 400),
        (bytes((0, 2)) + bytes(18), 443),
    ],
)
@pytest.mark.parametrize("method", [stun.CREATE_PERMISSION, stun.CHANNEL_BIND])
def test_peer_address_is_judged(method: int, value: bytes | None, code: int) -> None:
    number = (stun.CHANNEL_NUMBER, b"\x40\x00\0\0")
    peers = [] if value is None else [(stun.XOR_PEER_ADDRESS, value)]
    assert code_of(allocated().send(method, [number, *peers])) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, 400),
        (b"", 400),
        (b"\x40\x00", 400),
        (b"\x40\x00\0\0\0", 400),
        (b"\x3f\xff\0\0", 400),
        (b"\x40\x00\0\0", 0),
        (b"\x40\x00\xff\xff", 0),
        (b"\x4f\xff\0\0", 0),
        (b"\x50\x00\0\0", 400),
        (b"\x7f\xfe\0\0", 400),
        (b"\xff\xff\0\0", 400),
        (bytes(4), 400),
    ],
)
def test_channel_number_is_judged(value: bytes | None, code: int) -> None:
    caller = allocated()
    numbers = [] if value is None else [(stun.CHANNEL_NUMBER, value)]
    assert code_of(caller.send(stun.CHANNEL_BIND, [*numbers, caller.peer(PEER, 99)], transaction=99)) == code


def test_permissions_are_given_all_or_none() -> None:
    world = World()
    caller = allocated(world)
    assert code_of(caller.permit("8.8.8.8", "127.0.0.1")) == 403
    caller.indicate(b"x", ("8.8.8.8", 1))
    assert world.to_peers == []
    assert code_of(caller.permit("8.8.8.8", "9.9.9.9")) == 0
    caller.indicate(b"x", ("8.8.8.8", 1))
    caller.indicate(b"y", ("9.9.9.9", 2))
    assert [(peer, data) for _, peer, data in world.to_peers] == [(("8.8.8.8", 1), b"x"), (("9.9.9.9", 2), b"y")]


def test_entries_per_allocation_are_bounded() -> None:
    world = with_rules(entries_per_allocation=2)
    caller = allocated(world)
    assert code_of(caller.permit("8.8.8.8", "9.9.9.9", "7.7.7.7")) == 508
    assert [code_of(caller.bind(0x4000 + number, ("8.8.8.8", 1 + number))) for number in range(3)] == [0, 0, 508]


def test_number_or_peer_that_is_bound_otherwise_gets_400() -> None:
    caller = allocated()
    assert code_of(caller.bind(0x4000, ("8.8.8.8", 1))) == 0
    assert code_of(caller.bind(0x4000, ("8.8.8.8", 1))) == 0
    assert code_of(caller.bind(0x4000, ("8.8.8.8", 2))) == 400
    assert code_of(caller.bind(0x4001, ("8.8.8.8", 1))) == 400
    assert code_of(caller.bind(0x4001, ("8.8.8.8", 2))) == 0


def test_number_is_free_again_15_minutes_after_the_bind() -> None:
    world = World()
    caller = allocated(world)
    caller.bind(0x4000, ("8.8.8.8", 1))
    for _ in range(2):
        world.pass_time(449.5)
        caller.refresh()
    assert code_of(caller.bind(0x4000, ("8.8.8.8", 2))) == 400
    world.pass_time(1.0)
    assert code_of(caller.bind(0x4000, ("8.8.8.8", 2))) == 0


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "0.0.0.0"]
)
def test_forbidden_ipv4_peer_gets_403_by_both_methods(text: str) -> None:
    world = World()
    caller = allocated(world)
    assert code_of(caller.permit(text)) == 403
    assert code_of(caller.bind(0x4000, (text, 5000))) == 403
    caller.indicate(b"x", (text, 5000))
    assert world.to_peers == []
    assert sum(world.stats.refused_peers.values()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::1",
        "2001:0:7f00:1::f7f7:f7f7",
        "2001:0:808:808::80ff:fffe",
        "fe80::1",
        "2600::5efe:127.0.0.1",
        "2600::200:5efe:10.0.0.1",
        "fd00:ec2::254",
        "64:ff9b::169.254.169.254",
        "ff02::1",
    ],
)
def test_disguised_peer_gets_403_by_both_methods_and_silence_by_send(text: str) -> None:
    world = World()
    caller = allocated(world, V6)
    assert code_of(caller.permit(text)) == 403
    assert code_of(caller.bind(0x4000, (text, 5000))) == 403
    caller.permit("2606:4700::1111")
    caller.indicate(b"x", (text, 5000))
    assert world.to_peers == []


@pytest.mark.parametrize("text", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1111"])
def test_ipv6_peer_of_an_ipv4_relay_gets_443_and_silence_by_send(text: str) -> None:
    world = World()
    caller = allocated(world)
    assert code_of(caller.permit(text)) == 443
    assert code_of(caller.bind(0x4000, (text, 5000))) == 443
    caller.permit("8.8.8.8")
    caller.indicate(b"x", (text, 5000))
    assert world.to_peers == []


def test_ipv6_peer_of_an_ipv6_relay_is_reached() -> None:
    world = World()
    caller = allocated(world, V6)
    assert code_of(caller.bind(0x4000, ("2606:4700::1111", 5000))) == 0
    caller.channel_data(0x4000, b"six")
    assert world.to_peers == [(caller.relay, ("2606:4700::1111", 5000, 0, 0), b"six")]
    assert world.relays[caller.relay].family == IPV6


def test_port_zero_gets_403_from_a_bind() -> None:
    assert code_of(allocated().bind(0x4000, ("8.8.8.8", 0))) == 403


def test_own_port_that_is_no_relay_gets_403_from_a_bind() -> None:
    world = World()
    caller, other = allocated(world), Caller(world, port=40001)
    relayed = address_of(other.allocate(), stun.XOR_RELAYED_ADDRESS)
    assert code_of(caller.permit(RELAY_HOST)) == 0
    assert code_of(caller.bind(0x4000, (RELAY_HOST, 22))) == 403
    assert code_of(caller.bind(0x4000, relayed)) == 0
    assert world.stats.refused_peers == {"own-port": 1}
    assert pack(RELAY_HOST)
    assert UDP[0] == 17


def test_refusal_is_told_once_per_allocation_and_reason() -> None:
    world = World()
    one, two = allocated(world), Caller(world, port=40001)
    two.allocate()
    for caller in (one, two):
        for host in ("10.0.0.1", "10.0.0.2", "224.0.0.1"):
            assert code_of(caller.permit(host)) == 403
            assert code_of(caller.bind(0x4000, (host, 1))) == 403
    assert world.refusals == [(caller.relay, reason) for caller in (one, two) for reason in ("private", "multicast")]
    assert world.stats.refused_peers == {"private": 8, "multicast": 4}


def test_error_that_is_no_refusal_of_a_peer_is_not_told() -> None:
    world = World()
    caller = allocated(world)
    assert code_of(caller.bind(0x5000)) == 400
    assert code_of(caller.permit("2600::1")) == 443
    assert world.refusals == []
