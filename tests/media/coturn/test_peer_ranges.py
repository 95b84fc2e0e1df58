import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from media.coturn.peer_ranges import PeerLists, PeerRange, peer_lists
from media.turn import address
from media.turn.address import pack, parse_range
from media.turn.policy import PeerRules


def packed(*hosts: str) -> frozenset[bytes]:
    return frozenset(map(pack, hosts))


def ranges(*texts: str) -> tuple[address.Range, ...]:
    return tuple(parse_range(text, is_openable=True) for text in texts)


PUBLIC = PeerRules(
    own=packed("8.8.8.8", "10.0.0.5", "127.0.0.1", "::1", "2600::7", "fe80::1"),
    broadcasts=packed("10.0.0.255"),
    advertised=packed("8.8.8.8", "2600::7"),
)
RULES = {
    "public": PUBLIC,
    "named": PeerRules(
        own=PUBLIC.own,
        broadcasts=PUBLIC.broadcasts,
        advertised=PUBLIC.advertised,
        allowed=ranges("10.0.0.0/8", "169.254.0.0/16", "fd00::/8", "198.51.100.7/32", "0.0.0.0/0", "::/0"),
    ),
    "lan": PeerRules(own=packed("192.168.1.5", "127.0.0.1", "fd00::5"), advertised=packed("192.168.1.5", "fd00::5")),
    "behind NAT": PeerRules(own=packed("10.0.0.5", "127.0.0.1"), advertised=packed("203.0.113.7")),
    "with ranges": PeerRules(
        own=PUBLIC.own, advertised=PUBLIC.advertised, own_ranges=ranges("8.8.4.0/24", "2600:9::/64")
    ),
    "loopback": PeerRules(
        own=packed("127.0.0.1", "::1", "192.0.2.2", "169.254.169.254"),
        broadcasts=packed("192.0.2.255", "127.255.255.255"),
        advertised=packed("192.0.2.2"),
        is_loopback_only=True,
    ),
}


def edges() -> st.SearchStrategy[bytes]:
    """Addresses at and beside the ends of every range, plain and in disguise, and any others."""
    ends = {end for width in (32, 128) for each in address.special_ranges(width) for end in (each.first, each.last)}
    ends |= {int.from_bytes(ip) for rules in RULES.values() for ip in rules.own | rules.broadcasts | rules.advertised}
    ends |= {end for rules in RULES.values() for each in rules.own_ranges for end in (each.first, each.last)}
    near = sorted({end + step for end in ends for step in (-1, 0, 1) if end + step >= 0})
    ipv4 = st.sampled_from([number for number in near if number < 1 << 32]) | st.integers(0, (1 << 32) - 1)
    hidden = st.builds(
        lambda ip, lead: lead + ip.to_bytes(4), ipv4, st.sampled_from([bytes(12), b"\0d\xff\x9b" + bytes(8)])
    )
    mapped = ipv4.map(lambda number: bytes(10) + b"\xff\xff" + number.to_bytes(4))
    six_to_four = st.builds(
        lambda ip, rest: b"\x20\x02" + ip.to_bytes(4) + rest, ipv4, st.binary(min_size=10, max_size=10)
    )
    ipv6 = st.sampled_from([number for number in near if number < 1 << 128]) | st.integers(0, (1 << 128) - 1)
    return st.one_of(
        ipv4.map(lambda number: number.to_bytes(4)),
        ipv6.map(lambda number: number.to_bytes(16)),
        hidden,
        mapped,
        six_to_four,
    )


def holds(found: Iterable[PeerRange], ip: bytes) -> bool:
    return any(each.width == len(ip) * 8 and each.first <= int.from_bytes(ip) <= each.last for each in found)


def is_out_of_reach(ip: bytes) -> bool:
    """Whether an IPv4 address hides where no list of ranges finds it: in an ISATAP identifier or a Teredo address."""
    return ip[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe") or ip[:4] == b"\x20\x01\x00\x00"


LISTS: dict[str, PeerLists] = {name: peer_lists(rules) for name, rules in RULES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@given(ip=edges())
@example(ip=pack("10.0.0.5"))
@example(ip=pack("127.0.0.0"))
@example(ip=pack("100.100.100.200"))
@example(ip=pack("2002:a00:1::"))
@example(ip=pack("64:ff9b::808:808"))
def test_the_lists_say_what_the_rules_say(name: str, ip: bytes) -> None:
    rules, lists = RULES[name], LISTS[name]
    if is_out_of_reach(ip):
        return
    is_denied = holds(lists.denied, ip)
    assert is_denied is (rules.refusal(ip) is not None), address.host_text(ip)
    is_special = address.special_range(ip) is not None
    assert holds(lists.allowed, ip) is (is_special and not is_denied), address.host_text(ip)


def test_a_range_is_written_as_one_address_or_two() -> None:
    assert str(PeerRange(0x7F000000, 0x7FFFFFFF, 32)) == "127.0.0.0-127.255.255.255"
    assert str(PeerRange(1, 1, 128)) == "::1"
    denied = [str(each) for each in peer_lists(PeerRules()).denied if each.width == 32]
    assert denied[:2] == ["0.0.0.0-0.255.255.255", "10.0.0.0-10.255.255.255"]
    assert ipaddress.ip_address("169.254.169.254") in ipaddress.ip_network("169.254.0.0/16")
    assert "169.254.0.0-169.254.255.255" in denied


def test_addresses_that_relays_are_bound_to_are_open_and_open_nothing_else() -> None:
    lists = peer_lists(RULES["behind NAT"], packed("10.0.0.5"))
    assert not holds(lists.denied, pack("10.0.0.5"))
    assert holds(lists.allowed, pack("10.0.0.5"))
    assert holds(lists.denied, pack("10.0.0.4"))
    assert holds(lists.denied, pack("2002:a00:5::")), "not in disguise"
