"""The peer rules as lists of address ranges, for a server that only knows lists. No I/O.

A list cannot tell ports, and ISATAP and Teredo, which hide an IPv4 address in the lower half of an IPv6 address, are
out of its reach but where their ranges are closed as a whole.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

from media.turn import address
from media.turn.address import Range
from media.turn.policy import PeerRules

_WIDTHS = (32, 128)
_6TO4, _NAT64 = 0x2002 << 112, 0x0064_FF9B << 96

_Span = tuple[int, int]


class PeerRange(msgspec.Struct, frozen=True):
    """All addresses from `first` to `last`, of a width of 32 or 128 bits."""

    first: int
    last: int
    width: int

    def __str__(self) -> str:
        kind = ipaddress.IPv4Address if self.width == 32 else ipaddress.IPv6Address
        first, last = kind(self.first), kind(self.last)
        return str(first) if self.first == self.last else f"{first}-{last}"


class PeerLists(msgspec.Struct, frozen=True):
    """Ranges that are closed, and special ranges that are open all the same; they share no address."""

    denied: tuple[PeerRange, ...]
    allowed: tuple[PeerRange, ...]


def peer_lists(rules: PeerRules, relays: frozenset[bytes] = frozenset()) -> PeerLists:
    """Return the lists that mean what `rules.refusal` says, with every port of an allowed address open.

    `relays` are addresses that relays are bound to: behind a NAT others than are advertised, and open like those.
    """
    denied: list[PeerRange] = []
    allowed: list[PeerRange] = []
    closed_ipv4: list[_Span] = []
    for width in _WIDTHS:
        special = _special(width)
        open_ones = _spans(rules.advertised | relays, width)
        closed = _without(_closed(rules, width), open_ones)
        if width == 32:
            closed_ipv4 = _merged([*closed, *_own(rules, width)])
        elif not rules.is_loopback_only:
            closed = _without(_merged([*closed, *_hiding(closed_ipv4)]), open_ones)
        denied += [PeerRange(first, last, width) for first, last in closed]
        allowed += [PeerRange(first, last, width) for first, last in _without(special, closed)]
    return PeerLists(tuple(denied), tuple(allowed))


def _closed(rules: PeerRules, width: int) -> list[_Span]:
    never = _merged([(each.first, each.last) for each in _table(width) if not each.is_openable])
    broadcasts = _spans(rules.broadcasts, width)
    loopback = [(each.first, each.last) for each in _table(width) if each.name == "loopback"]
    if rules.is_loopback_only:
        ours = _without([*_own(rules, width), *loopback], [*never, *broadcasts])
        return _without([(0, (1 << width) - 1)], ours)
    named = [(each.first, each.last) for each in rules.allowed if each.width == width]
    if any(len(ip) * 8 == width and address.is_private(ip) for ip in rules.advertised):
        named += [(each.first, each.last) for each in _table(width) if each.name in ("private", "unique-local")]
    special = _without(_special(width), _without(named, [*never, *_reserved(width)]))
    return _merged([*special, *_spans(rules.own, width), *_ranges(rules.own_ranges, width), *loopback, *broadcasts])


def _own(rules: PeerRules, width: int) -> list[_Span]:
    return [*_spans(rules.own | rules.advertised, width), *_ranges(rules.own_ranges, width)]


def _ranges(ranges: Iterable[Range], width: int) -> list[_Span]:
    return [(each.first, each.last) for each in ranges if each.width == width]


def _special(width: int) -> list[_Span]:
    return _merged([*((each.first, each.last) for each in _table(width)), *_reserved(width)])


def _reserved(width: int) -> list[_Span]:
    """What is neither unicast nor in the table: the table closes it for IPv6 (RFC 4291, 2.4)."""
    if width == 32:
        return []
    known = [*address.unicast_ranges(), *_table(width)]
    return _without([(0, (1 << width) - 1)], [(each.first, each.last) for each in known])


def _table(width: int) -> tuple[Range, ...]:
    return address.special_ranges(width)


def _hiding(spans: Iterable[_Span]) -> list[_Span]:
    """IPv6 addresses in whose upper or lower bits one of these IPv4 addresses stands: 6to4, NAT64."""
    found: list[_Span] = []
    for first, last in spans:
        found.append((_6TO4 | first << 80, _6TO4 | last << 80 | (1 << 80) - 1))
        found.append((_NAT64 | first, _NAT64 | last))
    return found


def _spans(ips: Iterable[bytes], width: int) -> list[_Span]:
    return _merged([(int.from_bytes(ip), int.from_bytes(ip)) for ip in ips if len(ip) * 8 == width])


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _without(spans: Iterable[_Span], holes: Iterable[_Span]) -> list[_Span]:
    left = _merged(spans)
    for first, last in holes:
        cut: list[_Span] = []
        for start, end in left:
            if start <= last and first <= end:
                cut += [each for each in ((start, first - 1), (last + 1, end)) if each[0] <= each[1]]
            else:
                cut.append((start, end))
        left = cut
    return left
