"""Addresses of the machine, from the kernel's files."""

import socket
from pathlib import Path

from media.turn.address import host_text, pack
from media.turn.interfaces import detect, read_interfaces

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
