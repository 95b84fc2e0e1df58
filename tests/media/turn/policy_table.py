"""Which peers a client may reach: address by address, under the default rules, on a LAN, and with everything named.

Run as a module it prints the table.
"""

import msgspec

from media.turn import address
from media.turn.address import IPV4, IPV6, pack, parse_range
from media.turn.policy import PeerRules
from media.turn.rules import ServerRules
from tests.media.turn.world import PEERS, RULES

LAN_HOSTS = ("192.168.1.9", "fd00::9")
COLUMNS: dict[str, tuple[ServerRules, PeerRules]] = {
    "default": (RULES, PEERS),
    "LAN": (
        msgspec.structs.replace(RULES, relay_ips={IPV4: pack(LAN_HOSTS[0]), IPV6: pack(LAN_HOSTS[1])}),
        PeerRules(
            own=frozenset(map(pack, (*LAN_HOSTS, "127.0.0.1", "::1"))),
            broadcasts=frozenset((pack("192.168.1.255"),)),
            advertised=frozenset(map(pack, LAN_HOSTS)),
            listener_ports=frozenset((3478,)),
        ),
    ),
    "all named": (RULES, msgspec.structs.replace(PEERS, allowed=(parse_range("0.0.0.0/0"), parse_range("::/0")))),
    "loopback": (
        RULES,
        msgspec.structs.replace(PEERS, is_loopback_only=True, allowed=(parse_range("0.0.0.0/0"), parse_range("::/0"))),
    ),
}
"""Advertised address public; private; public, and the operator allowed 0.0.0.0/0 and ::/0; listening on loopback only.

The machine has 198.51.100.7 and 2600::7, on the LAN 192.168.1.9 and fd00::9.
"""

OK = "allowed"
OWN = "own-port"
"""The permission is given, since relay to relay must work, and only ports of live relays are reached."""

LOCAL = "not-own-address"


class Entry(msgspec.Struct, frozen=True):
    """A peer address and the verdict per column: allowed, or the reason of the refusal."""

    category: str
    ip: bytes
    verdicts: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{self.category} {address.host_text(self.ip)}"


def plain(category: str, text: str, *verdicts: str) -> Entry:
    """Return an entry; the last verdict stands for the columns that are left."""
    return Entry(category, pack(text), (verdicts + verdicts[-1:] * 4)[:4])


PLAIN = [
    plain("global unicast", "8.8.8.8", OK, OK, OK, LOCAL),
    plain("global unicast", "2606:4700::1111", OK, OK, OK, LOCAL),
    plain("own advertised", "198.51.100.7", OWN, "documentation", OWN, OK),
    plain("own advertised", "2600::7", OWN, OK, OWN, OK),
    plain("own advertised, LAN", "192.168.1.9", "private", OWN, OK, LOCAL),
    plain("own advertised, LAN", "fd00::9", "unique-local", OWN, OK, LOCAL),
    plain("loopback", "127.0.0.1", "own-address", "own-address", "own-address", OK),
    plain("loopback", "127.8.8.8", "own-address", "own-address", "own-address", OK),
    plain("loopback", "::1", "own-address", "own-address", "own-address", OK),
    plain("private", "10.1.2.3", "private", OK, OK, LOCAL),
    plain("private", "172.16.0.1", "private", OK, OK, LOCAL),
    plain("private", "172.31.255.254", "private", OK, OK, LOCAL),
    plain("private", "192.168.1.20", "private", OK, OK, LOCAL),
    plain("unique-local", "fd00::1", "unique-local", OK, OK, LOCAL),
    plain("shared", "100.64.1.1", "shared", "shared", OK, LOCAL),
    plain("link-local", "169.254.1.1", "link-local", "link-local", OK, LOCAL),
    plain("link-local", "fe80::1", "link-local", "link-local", OK, LOCAL),
    plain("site-local", "fec0::1", "site-local", "site-local", OK, LOCAL),
    plain("metadata, AWS and others", "169.254.169.254", "metadata"),
    plain("metadata, AWS", "fd00:ec2::254", "metadata"),
    plain("credentials of AWS tasks", "169.254.170.2", "metadata"),
    plain("credentials of AWS pods", "169.254.170.23", "metadata"),
    plain("credentials of AWS pods", "fd00:ec2::23", "metadata"),
    plain("metadata, Alibaba", "100.100.100.200", "metadata"),
    plain("metadata, Azure", "168.63.129.16", "metadata"),
    plain("metadata, Google", "fd20:ce::254", "metadata"),
    plain("metadata, Oracle", "fd00:c1::a9fe:a9fe", "metadata"),
    plain("unspecified", "0.0.0.0", "this-network"),
    plain("this network", "0.1.2.3", "this-network"),
    plain("unspecified", "::", "unspecified"),
    plain("multicast, link", "224.0.0.1", "multicast"),
    plain("multicast, site", "239.1.2.3", "multicast"),
    plain("multicast, interface", "ff01::1", "multicast"),
    plain("multicast, link", "ff02::1", "multicast"),
    plain("multicast, site", "ff05::2", "multicast"),
    plain("multicast, global", "ff0e::1", "multicast"),
    plain("broadcast", "255.255.255.255", "broadcast"),
    plain("directed broadcast", "192.168.1.255", "private", "broadcast", OK, LOCAL),
    plain("reserved", "240.0.0.1", "reserved"),
    plain("reserved", "4000::1", "reserved"),
    plain("reserved", "8000::1", "reserved"),
    plain("protocol assignment", "192.0.0.1", "protocol-assignment", "protocol-assignment", OK, LOCAL),
    plain("6to4 relay", "192.88.99.1", "protocol-assignment", "protocol-assignment", OK, LOCAL),
    plain("protocol assignment", "2001:1::1", "protocol-assignment", "protocol-assignment", OK, LOCAL),
    plain("ORCHID", "2001:20::1", "protocol-assignment", "protocol-assignment", OK, LOCAL),
    plain("segment routing", "5f00::1", "protocol-assignment", "protocol-assignment", OK, LOCAL),
    plain("documentation", "192.0.2.1", "documentation", "documentation", OK, LOCAL),
    plain("documentation", "198.51.100.8", "documentation", "documentation", OK, LOCAL),
    plain("documentation", "203.0.113.1", "documentation", "documentation", OK, LOCAL),
    plain("documentation", "2001:db8::1", "documentation", "documentation", OK, LOCAL),
    plain("documentation", "3fff::1", "documentation", "documentation", OK, LOCAL),
    plain("benchmarking", "198.18.0.1", "benchmarking", "benchmarking", OK, LOCAL),
    plain("benchmarking", "2001:2::1", "benchmarking", "benchmarking", OK, LOCAL),
    plain("discard", "100::1", "discard", "discard", OK, LOCAL),
]

_HIDDEN = {
    "public": pack("8.8.8.8"),
    "private": pack("10.1.2.3"),
    "loopback": pack("127.0.0.1"),
    "metadata": pack("169.254.169.254"),
    "multicast": pack("224.0.0.1"),
    "own": pack("198.51.100.7"),
}


def _inverted(ip: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in ip)


def _forms(ip: bytes) -> dict[str, bytes]:
    public = _HIDDEN["public"]
    return {
        "IPv4-mapped": bytes(10) + b"\xff\xff" + ip,
        "IPv4-translated": bytes(8) + b"\xff\xff\0\0" + ip,
        "IPv4-compatible": bytes(12) + ip,
        "NAT64, local prefix": b"\x00\x64\xff\x9b\x00\x01" + bytes(6) + ip,
        "NAT64, local prefix of 48 bits": b"\x00\x64\xff\x9b\x00\x01" + ip[:2] + b"\0" + ip[2:] + bytes(5),
        "Teredo server": b"\x20\x01\0\0" + ip + bytes(4) + _inverted(public),
        "Teredo client": b"\x20\x01\0\0" + public + bytes(4) + _inverted(ip),
        "6to4": b"\x20\x02" + ip + bytes(9) + b"\1",
        "NAT64": b"\x00\x64\xff\x9b" + bytes(8) + ip,
        "ISATAP": pack("2600::")[:8] + b"\0\0\x5e\xfe" + ip,
        "ISATAP, global": pack("2600::")[:8] + b"\2\0\x5e\xfe" + ip,
    }


_OUTER = {
    "IPv4-mapped": ("ipv4-mapped",) * 4,
    "IPv4-translated": ("ipv4-translated",) * 4,
    "IPv4-compatible": ("reserved",) * 4,
    "NAT64, local prefix": ("local-nat64",) * 4,
    "NAT64, local prefix of 48 bits": ("local-nat64",) * 4,
    "Teredo server": ("protocol-assignment", "protocol-assignment", OK, LOCAL),
    "Teredo client": ("protocol-assignment", "protocol-assignment", OK, LOCAL),
    "6to4": (OK, OK, OK, LOCAL),
    "NAT64": (OK, OK, OK, LOCAL),
    "ISATAP": (OK, OK, OK, LOCAL),
    "ISATAP, global": (OK, OK, OK, LOCAL),
}
"""What the outer address earns when nothing is wrong with the hidden one."""

_INNER = {
    "public": (OK, OK, OK, OK),
    "private": ("private", OK, OK, OK),
    "loopback": ("own-address", "own-address", "own-address", OK),
    "metadata": ("metadata", "metadata", "metadata", OK),
    "multicast": ("multicast", "multicast", "multicast", OK),
    "own": ("own-address", "documentation", "own-address", OK),
}
"""What the hidden address earns; a server on loopback looks for its own addresses alone, and none is written so."""


def _disguised() -> list[Entry]:
    found = []
    for name, ip in _HIDDEN.items():
        for form, disguise in _forms(ip).items():
            if (name, form) == ("public", "Teredo client"):
                continue  # the same as the server's
            inner = ("",) * 3 + (OK,) if form.startswith("NAT64, local") else _INNER[name]
            pairs = zip(inner, _OUTER[form], strict=True)
            verdicts = tuple(outer if verdict in (OK, "") else verdict for verdict, outer in pairs)
            found.append(Entry(f"{name} as {form}", disguise, verdicts))
    return found


ENTRIES = [*PLAIN, *_disguised()]


def render() -> str:
    """Return the table as Markdown."""
    lines = [f"| category | address | {' | '.join(COLUMNS)} |", "|---|---|" + "---|" * len(COLUMNS)]
    lines += [f"| {each.category} | {address.host_text(each.ip)} | {' | '.join(each.verdicts)} |" for each in ENTRIES]
    return "\n".join(lines)


if __name__ == "__main__":
    print(render())
