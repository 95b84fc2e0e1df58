"""The one home of addresses: text and bytes, families, disguised IPv4, and the table of special ranges. No I/O."""

import functools
import ipaddress

import msgspec

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""Host text and port, as the kernel gives and takes them; IPv6 with flow and scope behind."""

IPV4 = 1
IPV6 = 2


class Range(msgspec.Struct, frozen=True, gc=False):
    """A range that is not plain unicast; `is_openable` says whether an operator may open it by naming it.

    `width` is the length of its addresses in bits, 32 or 128.
    """

    first: int
    last: int
    name: str
    is_openable: bool
    width: int = 0

    def holds(self, number: int) -> bool:
        """Tell whether the address with this number lies in the range."""
        return self.first <= number <= self.last


def parse_range(text: str, name: str = "", *, is_openable: bool = False) -> Range:
    """Read `192.0.2.0/24` or `fc00::/7`; a single address is a range of one.

    Raises: ValueError when the text is no network or has host bits.
    """
    network = ipaddress.ip_network(text)
    return Range(int(network[0]), int(network[-1]), name, is_openable, network.max_prefixlen)


def family(ip: bytes) -> int:
    """Family of a packed address as TURN numbers it: 1 is IPv4, 2 is IPv6 (RFC 8489, 14.1)."""
    return IPV4 if len(ip) == 4 else IPV6


@functools.lru_cache(maxsize=1024)  # a client's address is packed for each of its requests
def pack(host: str) -> bytes:
    """Return the 4 or 16 bytes of a host in text; a zone (`%eth0`) is left out.

    Raises: ValueError when it is no address.
    """
    try:
        ip = bytes(map(int, host.split(".")))
    except ValueError:
        ip = b""
    if len(ip) == 4 and host_text(ip) == host:
        return ip  # IPv4 as the kernel writes it, a third of the time
    return ipaddress.ip_address(host.partition("%")[0]).packed


def host_text(ip: bytes) -> str:
    """Return the text of a packed address, as the kernel writes it for plain unicast."""
    if len(ip) == 4:
        return f"{ip[0]}.{ip[1]}.{ip[2]}.{ip[3]}"
    return str(ipaddress.IPv6Address(ip))


def socket_address(ip: bytes, port: int) -> SocketAddress:
    """Return the form in which sockets give and take this address."""
    return (host_text(ip), port) if len(ip) == 4 else (host_text(ip), port, 0, 0)


def is_loopback(ip: bytes) -> bool:
    """Tell whether only this machine can reach the address."""
    return ip[0] == 127 if len(ip) == 4 else ip == _IPV6_LOOPBACK


def is_private(ip: bytes) -> bool:
    """Tell whether the address is private IPv4 (RFC 1918) or unique-local IPv6 (RFC 4193)."""
    special = special_range(ip)
    return special is not None and special.name in ("private", "unique-local")


def special_range(ip: bytes) -> Range | None:
    """Return the special range that holds the address, None for plain global unicast."""
    number = int.from_bytes(ip)
    table = _IPV4_RANGES if len(ip) == 4 else _IPV6_RANGES
    found = next((entry for entry in table if entry.holds(number)), None)
    if found is None and len(ip) == 16 and not any(entry.holds(number) for entry in _IPV6_UNICAST):
        return _IPV6_RESERVED
    return found


def special_ranges(width: int) -> tuple[Range, ...]:
    """Return the table for addresses of 32 or 128 bits; the first range that holds an address decides."""
    return _IPV4_RANGES if width == 32 else _IPV6_RANGES


def unicast_ranges() -> tuple[Range, ...]:
    """Return what is plain unicast of IPv6; all that is neither here nor in the table is reserved."""
    return _IPV6_UNICAST


def embedded(ip: bytes) -> tuple[bytes, ...]:
    """Return every IPv4 address that hides in an IPv6 address, in all the forms that are known.

    IPv4-compatible, -mapped and -translated (RFC 4291, 2765), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo with its
    server and its inverted client (RFC 4380), ISATAP (RFC 5214). An IPv4 address hides nothing.
    """
    if len(ip) == 4:
        return ()
    found: list[bytes] = []
    if ip[:12] in _IPV4_IN_LAST_FOUR and ip[:15] != bytes(15):
        found.append(ip[12:])
    if ip[:2] == b"\x20\x02":
        found.append(ip[2:6])
    if ip[:4] == b"\x20\x01\x00\x00":
        found += [ip[4:8], bytes(byte ^ 0xFF for byte in ip[12:])]
    if ip[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"):
        found.append(ip[12:])
    return tuple(found)


_IPV6_LOOPBACK = bytes(15) + b"\x01"
_IPV4_IN_LAST_FOUR = (
    bytes(12),
    bytes(10) + b"\xff\xff",
    bytes(8) + b"\xff\xff\x00\x00",
    b"\x00\x64\xff\x9b" + bytes(8),
)


def _table(never: dict[str, str], openable: dict[str, str]) -> tuple[Range, ...]:
    closed = [parse_range(text, name) for text, name in never.items()]
    named = [parse_range(text, name, is_openable=True) for text, name in openable.items()]
    return (*closed, *named)


# From the IANA special-purpose address registries (RFC 6890 and its updates), the multicast registries, and the
# metadata services of the large clouds. The first entry that holds an address decides, the closed ones come first.
_IPV4_RANGES = _table(
    never={
        "169.254.169.254/32": "metadata",
        "169.254.170.2/32": "metadata",
        "169.254.170.23/32": "metadata",
        "100.100.100.200/32": "metadata",
        "168.63.129.16/32": "metadata",
        "0.0.0.0/8": "this-network",
        "224.0.0.0/4": "multicast",
        "255.255.255.255/32": "broadcast",
        "240.0.0.0/4": "reserved",
    },
    openable={
        "10.0.0.0/8": "private",
        "172.16.0.0/12": "private",
        "192.168.0.0/16": "private",
        "100.64.0.0/10": "shared",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "192.0.0.0/24": "protocol-assignment",
        "192.88.99.0/24": "protocol-assignment",
        "192.0.2.0/24": "documentation",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "198.18.0.0/15": "benchmarking",
    },
)
_IPV6_RANGES = _table(
    never={
        "fd00:ec2::254/128": "metadata",
        "fd00:ec2::23/128": "metadata",
        "fd20:ce::254/128": "metadata",
        "fd00:c1::a9fe:a9fe/128": "metadata",
        "::/128": "unspecified",
        "ff00::/8": "multicast",
        "::ffff:0:0/96": "ipv4-mapped",
        "::ffff:0:0:0/96": "ipv4-translated",
        "64:ff9b:1::/48": "local-nat64",
    },
    openable={
        "::1/128": "loopback",
        "fc00::/7": "unique-local",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "100::/64": "discard",
        "100:0:0:1::/64": "discard",
        "2001:2::/48": "benchmarking",
        "2001::/23": "protocol-assignment",
        "2001:db8::/32": "documentation",
        "3fff::/20": "documentation",
        "5f00::/16": "protocol-assignment",
    },
)
_IPV6_UNICAST = (parse_range("2000::/3"), parse_range("64:ff9b::/96"))
_IPV6_RESERVED = Range(0, (1 << 128) - 1, "reserved", False, 128)
