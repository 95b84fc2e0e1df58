"""Addresses of the machine, from the kernel's files."""

import contextlib
import errno
import ipaddress
import socket
from pathlib import Path

import pytest

from media.relay import interfaces
from media.relay.interfaces import detect, read_interfaces
from media.turn.address import host_text, pack

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
"""
IF_INET6 = "fd000000000000000000000000000002 04 40 00 82     eth0\n"


def test_addresses_and_broadcasts_are_read(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(FIB_TRIE)
    (tmp_path / "if_inet6").write_text(IF_INET6)
    found = read_interfaces(tmp_path)
    assert {pack("192.0.2.2"), pack("127.0.0.1"), pack("fd00::2")} <= found.addresses
    assert pack("192.0.2.0") not in found.addresses
    assert found.broadcasts == {pack("192.0.2.255")}


def test_machine_without_these_files_still_has_the_address_of_its_route(tmp_path: Path) -> None:
    found = read_interfaces(tmp_path)
    detected = detect(socket.AF_INET)
    assert detected is None or pack(detected) in found.addresses
    assert found.broadcasts == frozenset()


def test_every_address_of_this_machine_can_be_bound() -> None:
    addresses = read_interfaces().addresses
    assert pack("127.0.0.1") in addresses
    for ip in addresses:
        if len(ip) == 4:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host_text(ip), 0))


def test_first_address_of_a_subnet_is_own_where_this_machine_is_its_router(tmp_path: Path) -> None:
    (tmp_path / "if_inet6").write_text(IF_INET6)
    (tmp_path / "anycast6").write_text("2    eth0            fd000000000000000000000000000000     1\n")
    found = read_interfaces(tmp_path)
    assert {pack("fd00::"), pack("fd00::2")} <= found.own
    assert pack("fd00::") not in found.addresses


IPV6_ROUTE = """\
2600000900000000000000000000000a 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001       lo
26000009000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000002 00000000 80000001       lo
"""  # noqa: E501  # as the kernel writes it


def test_ranges_that_are_routed_to_this_machine_are_own_as_a_whole(tmp_path: Path) -> None:
    anywhere = "     |-- 192.0.3.0\n        /24 host LOCAL\n"
    (tmp_path / "fib_trie").write_text(FIB_TRIE + anywhere)
    (tmp_path / "ipv6_route").write_text(IPV6_ROUTE)
    found = read_interfaces(tmp_path).ranges
    assert [(each.width, each.first, each.last) for each in found] == [
        (network.max_prefixlen, int(network[0]), int(network[-1]))
        for network in map(ipaddress.ip_network, ("127.0.0.0/8", "192.0.3.0/24", "2600:9::/64"))
    ]


def test_files_that_cannot_be_read_are_not_taken_for_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: Path) -> str:
        raise OSError(errno.EMFILE, "none left")

    monkeypatch.setattr(Path, "read_text", exhausted)
    with pytest.raises(OSError, match="none left"):
        read_interfaces()


@pytest.mark.parametrize(("number", "is_raised"), [(errno.EAFNOSUPPORT, False), (errno.EMFILE, True)])
def test_kernel_without_ipv6_has_no_route_but_no_descriptor_left_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, number: int, is_raised: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(interfaces.socket, "socket", refused)
    with pytest.raises(OSError, match="refused") if is_raised else contextlib.nullcontext():
        assert detect(socket.AF_INET6) is None
