"""Where listeners and relay sockets go."""

import pytest

from media.relay.interfaces import Interfaces
from media.relay.placement import Placement, PlacementError, is_for_listening, place
from media.turn.address import IPV4, IPV6, pack

MACHINE = Interfaces(frozenset(map(pack, ("127.0.0.1", "::1", "192.168.1.9", "10.0.0.3", "fd00::9", "fe80::9"))))
ALONE = Interfaces(frozenset(map(pack, ("127.0.0.1", "::1"))))


def route(family: int) -> str | None:
    return "192.168.1.9" if family == IPV4 else None


def no_route(family: int) -> str | None:
    return None


def test_loopback_server_relays_on_an_interface_address() -> None:
    found = place(("127.0.0.1",), (), MACHINE, route)
    assert found.listener_hosts == ("127.0.0.1",)
    assert found.relay_hosts == {IPV4: "192.168.1.9", IPV6: "fd00::9"}
    assert found.advertised == {IPV4: pack("192.168.1.9"), IPV6: pack("fd00::9")}
    assert found.is_loopback_only


def test_loopback_server_without_a_network_relays_on_loopback() -> None:
    found = place(("localhost", "::1"), (), ALONE, no_route)
    assert found.listener_hosts == ("127.0.0.1", "::1")
    assert found.relay_hosts == {IPV4: "127.0.0.1", IPV6: "::1"}
    assert place(("::1",), (), Interfaces(), no_route).relay_hosts == {IPV4: "127.0.0.1"}


def test_wildcard_server_advertises_the_address_of_its_route_or_the_first_one() -> None:
    assert place(("0.0.0.0",), (), MACHINE, route) == Placement(
        ("0.0.0.0",), {IPV4: "192.168.1.9"}, {IPV4: pack("192.168.1.9")}, is_loopback_only=False
    )
    found = place(("::",), (), MACHINE, no_route)
    assert found.listener_hosts == ("0.0.0.0", "::")
    assert found.relay_hosts == {IPV4: "10.0.0.3", IPV6: "fd00::9"}


def test_one_listener_beyond_loopback_makes_the_server_public() -> None:
    found = place(("127.0.0.1", "192.168.1.9"), (), MACHINE, route)
    assert not found.is_loopback_only
    assert found.relay_hosts == {IPV4: "192.168.1.9"}


def test_address_before_the_nat_is_bound_and_the_one_behind_it_is_told() -> None:
    found = place(("0.0.0.0",), ("8.8.8.8",), MACHINE, route)
    assert found.relay_hosts == {IPV4: "192.168.1.9"}
    assert found.advertised == {IPV4: pack("8.8.8.8")}


def test_advertised_address_of_this_machine_is_bound() -> None:
    assert place(("0.0.0.0",), ("10.0.0.3",), MACHINE, route).relay_hosts == {IPV4: "10.0.0.3"}
    assert place(("127.0.0.1",), ("127.0.0.1",), MACHINE, route).advertised[IPV4] == pack("127.0.0.1")


@pytest.mark.parametrize(
    ("hosts", "advertised", "interfaces", "named"),
    [
        (("example.org",), (), MACHINE, "host: example.org"),
        (("127.0.0.1",), ("8.8.8.8",), MACHINE, "advertised_address: 8.8.8.8"),
        (("0.0.0.0",), ("2600::1",), MACHINE, "advertised_address: 2600::1"),
        (("0.0.0.0",), (), ALONE, "advertised_address"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    hosts: tuple[str, ...], advertised: tuple[str, ...], interfaces: Interfaces, named: str
) -> None:
    with pytest.raises(PlacementError, match=named):
        place(hosts, advertised, interfaces, no_route)


def test_link_local_addresses_are_not_listened_on() -> None:
    assert not is_for_listening(pack("fe80::9"))
    assert is_for_listening(pack("127.0.0.1"))
    assert is_for_listening(pack("8.8.8.8"))
