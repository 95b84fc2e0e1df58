"""The addresses of this machine, read from the Linux kernel; no rule about them is here."""

import errno
import re
import socket
from pathlib import Path

import msgspec

from media.turn import address
from media.turn.address import Range

_PROC = Path("/proc/net")
_LOCAL = re.compile(r"^([0-9a-f]{32}) ([0-9a-f]{2}) (?:\S+ ){6}[89a-f][0-9a-f]{7} ", re.MULTILINE)
"""A route of IPv6 to this machine itself: the highest bit of its flags tells so."""

_PROBE = {socket.AF_INET: "198.51.100.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses: connecting a UDP socket to one sends nothing, it only asks for the route."""


class Interfaces(msgspec.Struct, frozen=True):
    """Packed addresses of all interfaces, and the IPv4 broadcast addresses of their subnets.

    `anycasts` are IPv6 addresses that this machine answers to beside its own: the first of each subnet where it is a
    router (RFC 4291, 2.6.1), as every host of containers is. `ranges` are routed to this machine as a whole: every
    address of them is its own, on an interface or not.
    """

    addresses: frozenset[bytes] = frozenset()
    broadcasts: frozenset[bytes] = frozenset()
    anycasts: frozenset[bytes] = frozenset()
    ranges: tuple[Range, ...] = ()

    @property
    def own(self) -> frozenset[bytes]:
        """Every address under which programs of this machine are reached."""
        return self.addresses | self.anycasts


def read_interfaces(proc: Path = _PROC) -> Interfaces:
    """Read the addresses of this machine; what is not there (no /proc) is left out.

    Raises: OSError when something is there and cannot be read, so that nobody takes an own address for a foreign one.
    """
    addresses, broadcasts, ranges = _parse_fib_trie(_text(proc / "fib_trie"))
    ranges |= {_range(bytes.fromhex(ip), int(length, 16)) for ip, length in _LOCAL.findall(_text(proc / "ipv6_route"))}
    for line in _text(proc / "if_inet6").splitlines():
        addresses.add(bytes.fromhex(line.split()[0]))
    detected = (detect(family) for family in _PROBE)
    addresses.update(address.pack(host) for host in detected if host is not None)
    anycasts = (bytes.fromhex(line.split()[2]) for line in _text(proc / "anycast6").splitlines())
    wide = sorted((each for each in ranges if each.first != each.last), key=lambda each: (each.width, each.first))
    return Interfaces(frozenset(addresses), frozenset(broadcasts), frozenset(anycasts), tuple(wide))


def detect(family: socket.AddressFamily) -> str | None:
    """Return the address from which this machine talks to the world, None when it has no route there.

    Raises: OSError when no socket is left to ask with.
    """
    try:
        asking = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None  # a kernel without IPv6
        raise
    with asking as probe:
        try:
            probe.connect((_PROBE[family], 9))
        except OSError:
            return None
        host = probe.getsockname()[0]
    return str(host)


def _parse_fib_trie(text: str) -> tuple[set[bytes], set[bytes], set[Range]]:
    # A leaf is `|-- 192.0.2.2` with lines such as `/32 host LOCAL` or `/32 link BROADCAST` below it.
    local: set[bytes] = set()
    broadcast: set[bytes] = set()
    ranges: set[Range] = set()
    leaf = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            leaf = words[1]
        elif words[:1] == ["/32"] and words[-1] == "LOCAL":
            local.add(address.pack(leaf))
        elif words[:1] == ["/32"] and words[-1] == "BROADCAST":
            broadcast.add(address.pack(leaf))
        elif words[0].startswith("/") and words[-1] == "LOCAL":
            ranges.add(_range(address.pack(leaf), int(words[0][1:])))
    return local, broadcast, ranges


def _range(ip: bytes, length: int) -> Range:
    width, first = len(ip) * 8, int.from_bytes(ip)
    return Range(first, first | (1 << width - length) - 1, "own", False, width)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, PermissionError):
        return ""
