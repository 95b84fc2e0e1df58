"""Addresses: disguises of IPv4, special ranges, text and bytes."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn import address
from media.turn.address import embedded, host_text, pack, special_range

packed = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


@pytest.mark.parametrize(
    ("outer", "hidden"),
    [
        ("::ffff:10.1.2.3", ["10.1.2.3"]),
        ("::10.1.2.3", ["10.1.2.3"]),
        ("::ffff:0:10.1.2.3", ["10.1.2.3"]),
        ("64:ff9b::10.1.2.3", ["10.1.2.3"]),
        ("2002:0a01:0203::1", ["10.1.2.3"]),
        ("2001:0:0a01:0203::f5fe:fdfc", ["10.1.2.3", "10.1.2.3"]),
        ("2600::5efe:10.1.2.3", ["10.1.2.3"]),
        ("2600::200:5efe:10.1.2.3", ["10.1.2.3"]),
        ("2002:0808:0808:0:0:5efe:10.1.2.3", ["8.8.8.8", "10.1.2.3"]),
        ("2600::1", []),
        ("::1", []),
        ("::", []),
        ("10.1.2.3", []),
    ],
)
def test_hidden_ipv4_is_found(outer: str, hidden: list[str]) -> None:
    assert [host_text(ip) for ip in embedded(pack(outer))] == hidden


@pytest.mark.parametrize(
    ("text", "name", "is_openable"),
    [
        ("0.0.0.0", "this-network", False),
        ("0.1.2.3", "this-network", False),
        ("10.255.255.255", "private", True),
        ("100.64.0.1", "shared", True),
        ("100.100.100.200", "metadata", False),
        ("127.0.0.1", "loopback", True),
        ("169.254.1.1", "link-local", True),
        ("169.254.169.254", "metadata", False),
        ("172.16.0.1", "private", True),
        ("172.31.255.255", "private", True),
        ("192.0.0.8", "protocol-assignment", True),
        ("192.0.2.1", "documentation", True),
        ("192.168.1.1", "private", True),
        ("198.19.255.255", "benchmarking", True),
        ("224.0.0.1", "multicast", False),
        ("239.255.255.255", "multicast", False),
        ("240.0.0.1", "reserved", False),
        ("255.255.255.255", "broadcast", False),
        ("::", "unspecified", False),
        ("::1", "loopback", True),
        ("::8.8.8.8", "reserved", False),
        ("::ffff:8.8.8.8", "ipv4-mapped", False),
        ("64:ff9b:1::1", "local-nat64", False),
        ("100::1", "discard", True),
        ("2001:0:808:808::1", "protocol-assignment", True),
        ("2001:db8::1", "documentation", True),
        ("3fff::1", "documentation", True),
        ("4000::1", "reserved", False),
        ("5f00::1", "protocol-assignment", True),
        ("fd00::1", "unique-local", True),
        ("fd00:ec2::254", "metadata", False),
        ("fe80::1", "link-local", True),
        ("fec0::1", "site-local", True),
        ("ff02::1", "multicast", False),
        ("ff3e::1", "multicast", False),
    ],
)
def test_special_range_is_named(text: str, name: str, is_openable: bool) -> None:
    found = special_range(pack(text))
    assert found is not None
    assert (found.name, found.is_openable) == (name, is_openable)


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "223.255.255.255",
        "2600::1",
        "2a00::1",
        "3ffe:ffff::1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_plain_unicast_is_in_no_special_range(text: str) -> None:
    assert special_range(pack(text)) is None


@given(packed)
def test_every_global_multicast_or_reserved_verdict_of_the_standard_library_is_met(ip: bytes) -> None:
    judged = ipaddress.ip_address(ip)
    if judged.is_multicast or judged.is_unspecified or judged.is_loopback or judged.is_link_local:
        assert special_range(ip) is not None


@given(packed, st.integers(0, 0xFFFF))
def test_text_and_bytes_are_one_to_one(ip: bytes, port: int) -> None:
    assert pack(host_text(ip)) == ip
    assert address.socket_address(ip, port)[:2] == (host_text(ip), port)
    assert address.family(ip) == (address.IPV4 if len(ip) == 4 else address.IPV6)


def test_zone_of_a_link_local_address_is_left_out() -> None:
    assert pack("fe80::1%eth0") == pack("fe80::1")


def test_loopback_and_private_are_told() -> None:
    assert address.is_loopback(pack("127.3.2.1"))
    assert address.is_loopback(pack("::1"))
    assert not address.is_loopback(pack("::ffff:127.0.0.1"))
    assert address.is_private(pack("192.168.0.1"))
    assert address.is_private(pack("fd12::1"))
    assert not address.is_private(pack("100.64.0.1"))
    assert not address.is_private(pack("8.8.8.8"))


def test_range_is_read_with_its_width() -> None:
    found = address.parse_range("10.0.0.0/8", "ten")
    assert found.holds(int.from_bytes(pack("10.9.8.7")))
    assert not found.holds(int.from_bytes(pack("11.0.0.0")))
    assert found.width == 32
    with pytest.raises(ValueError, match="host bits"):
        address.parse_range("10.0.0.1/8")


@pytest.mark.parametrize("text", ["1.2.3", "1.2.3.4.5", "01.2.3.4", "+1.2.3.4", "1_0.2.3.4", "256.1.1.1", "1.2.3.", ""])
def test_ipv4_is_packed_in_one_spelling_only(text: str) -> None:
    assert pack("1.2.3.255") == bytes((1, 2, 3, 255))
    with pytest.raises(ValueError, match="not appear to be"):
        pack(text)
