"""What a client may have: which peers, how many allocations, how many unauthenticated replies. No I/O, no clock."""

import sys
from array import array
from collections.abc import Container

import msgspec

from media.turn import address
from media.turn.address import Range

BUCKETS = 4096
_UNLIMITED = 1 << 29  # a number that is quick to count with
FULL = "full"
"""Why an allocation is refused that nobody's quota forbids: the server has as many as it may."""


class PeerRules(msgspec.Struct, frozen=True):
    """The addresses of this machine and what the operator allows. All addresses are packed.

    `own` are the interface addresses and `own_ranges` what is routed to this machine as a whole, `broadcasts` the
    broadcast addresses of its subnets, `advertised` the relay addresses told to clients. `is_loopback_only`: every
    listener is bound to loopback. `sibling_ports` are those of live relays of the processes that share our listeners.
    """

    own: frozenset[bytes] = frozenset()
    broadcasts: frozenset[bytes] = frozenset()
    advertised: frozenset[bytes] = frozenset()
    allowed: tuple[Range, ...] = ()
    is_loopback_only: bool = False
    listener_ports: frozenset[int] = frozenset()
    sibling_ports: Container[int] = frozenset()
    own_ranges: tuple[Range, ...] = ()

    def is_own(self, ip: bytes) -> bool:
        """Tell whether packets to this address stay on this machine."""
        if ip in self.own or ip in self.advertised or address.is_loopback(ip):
            return True
        number, width = int.from_bytes(ip), len(ip) * 8
        return any(each.width == width and each.holds(number) for each in self.own_ranges)

    def refusal(self, ip: bytes) -> str | None:
        """Return why no permission is given for this peer address, None when it is allowed.

        The address on the wire and every IPv4 address that hides in it must both be allowed.
        """
        if self.is_loopback_only:
            return self._loopback_refusal(ip)
        for hidden in address.embedded(ip):
            reason = "own-address" if self.is_own(hidden) else self._range_refusal(hidden)
            if reason is not None:
                return reason
        if ip in self.advertised:
            return None  # relay to relay: the port is judged at ChannelBind and Send
        return "own-address" if self.is_own(ip) else self._range_refusal(ip)

    def port_refusal(self, ip: bytes, port: int, *, is_live_relay: bool) -> str | None:
        """Return why an allowed address must not be reached on this port, None when it may."""
        if port == 0:
            return "port-zero"
        if is_live_relay or not self.is_own(ip):
            return None
        return self.own_port_refusal(port)

    def own_port_refusal(self, port: int) -> str | None:
        """Return why this port of an own address, no live relay, must not be reached."""
        if port in self.sibling_ports:
            return None
        return None if self.is_loopback_only and port not in self.listener_ports else "own-port"

    def _loopback_refusal(self, ip: bytes) -> str | None:
        if ip in self.broadcasts:
            return "broadcast"
        special = address.special_range(ip)
        if special is not None and not special.is_openable:
            return special.name
        return None if self.is_own(ip) else "not-own-address"

    def _range_refusal(self, ip: bytes) -> str | None:
        if ip in self.broadcasts:
            return "broadcast"
        special = address.special_range(ip)
        if special is None:
            return None
        number = int.from_bytes(ip)
        if special.is_openable and (self._is_of_our_lan(ip, special) or self._is_named(ip, number)):
            return None
        return special.name

    def _is_named(self, ip: bytes, number: int) -> bool:
        widest = 32 if len(ip) == 4 else 128
        return any(entry.width == widest and entry.holds(number) for entry in self.allowed)

    def _is_of_our_lan(self, ip: bytes, special: Range) -> bool:
        if special.name not in ("private", "unique-local"):
            return False
        return any(len(ours) == len(ip) and address.is_private(ours) for ours in self.advertised)


class Quotas:
    """Allocations per quota key, per source and in all; 0 is no bound. A source is an IPv4 address or an IPv6 /64."""

    def __init__(self, per_key: int, per_source: int = 0, in_all: int = 0) -> None:
        self._per_key = per_key or sys.maxsize
        self._per_source = per_source or sys.maxsize
        self._in_all = in_all or sys.maxsize
        self._keys: dict[bytes, int] = {}
        self._sources: dict[bytes, int] = {}
        self._count = 0

    def take(self, quota_key: bytes, ip: bytes, besides: int = 0) -> str | None:
        """Count one more allocation, or return why not and change nothing; `besides` counts for the quota key too."""
        source = _source(ip)
        of_key, of_source = self._keys.get(quota_key, 0), self._sources.get(source, 0)
        if of_key + besides >= self._per_key:
            return "key-quota"
        if of_source >= self._per_source:
            return "source-quota"
        if self._count >= self._in_all:
            return FULL
        self._keys[quota_key] = of_key + 1
        self._sources[source] = of_source + 1
        self._count += 1
        return None

    def give_back(self, quota_key: bytes, ip: bytes) -> None:
        """Count one allocation less."""
        self._count -= 1
        _count_down(self._keys, quota_key)
        _count_down(self._sources, _source(ip))

    def move(self, old_ip: bytes, ip: bytes) -> None:
        """Count an allocation for another source, even for one that has all that it may have."""
        self._sources[_source(ip)] = self._sources.get(_source(ip), 0) + 1
        _count_down(self._sources, _source(old_ip))


def _count_down(used: dict[bytes, int], key: bytes) -> None:
    used[key] -= 1
    if not used[key]:
        del used[key]


def _source(ip: bytes) -> bytes:
    return ip if len(ip) == 4 else ip[:8]


class ReplyBuckets:
    """Token buckets per source /24 (IPv4) or /56 (IPv6) in a table that never grows; sources may share a bucket.

    Python salts the hash of bytes, so nobody can choose whose bucket to share.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = array("d", [burst]) * BUCKETS
        self._filled_at = array("d", [0.0]) * BUCKETS

    def take(self, ip: bytes, cost: float, now: float) -> bool:
        """Pay for one reply; False when the source must be met with silence."""
        slot = _slot(ip)
        earned = (now - self._filled_at[slot]) * self._per_s
        tokens = min(self._burst, self._tokens[slot] + earned)
        self._filled_at[slot] = now
        is_paid = tokens >= cost
        self._tokens[slot] = tokens - cost if is_paid else tokens
        return is_paid

    def give_back(self, ip: bytes, cost: float) -> None:
        """Return what was paid: the source proved to be no stranger."""
        slot = _slot(ip)
        self._tokens[slot] = min(self._burst, self._tokens[slot] + cost)


def _slot(ip: bytes) -> int:
    return hash(ip[:3] if len(ip) == 4 else ip[:7]) % BUCKETS


LEAST_PACKET_BYTES = 100
LEAST_PACKETS_PER_S = 200
"""A bitrate is one of packets, too: those without data would else cost nothing, and travel with 28 bytes of headers."""


class Rate:
    """One direction of one allocation: a bucket of whole bytes that holds what passes in half a second.

    It is filled when it runs short, not packet by packet: at most the bytes of a second pass at once, and on average
    what the rate says. Whoever relays takes from `left` what it has checked to be there, and counts packets: however
    small they are, of more than one for 100 bytes of the rate the rest of the second gets none.
    """

    __slots__ = (
        "_aside",
        "_bytes_per_s",
        "_counted_at",
        "_filled_at",
        "_most",
        "_most_packets",
        "_noted",
        "_packets",
        "left",
    )

    def __init__(self, bitrate_bps: int) -> None:
        self._bytes_per_s = bitrate_bps / 8  # 0 is no limit
        self._most = bitrate_bps // 16 if bitrate_bps else _UNLIMITED
        self._filled_at = -1.0
        self._noted = self.left = self._most
        most_packets = max(LEAST_PACKETS_PER_S, bitrate_bps // (8 * LEAST_PACKET_BYTES))
        self._most_packets = most_packets if bitrate_bps else _UNLIMITED
        self._packets = self._aside = 0
        self._counted_at = 0.0

    def count(self, packets: int, now: float) -> None:
        """Take note of packets that passed."""
        self._packets += packets
        if self._packets <= self._most_packets:
            return
        if now < self._counted_at + 1.0:
            aside = self.left + 1  # nothing is left: not even for a packet without data
            self._aside += aside
            self._noted -= aside
            self.left = -1
        else:
            self._packets, self._counted_at = 0, now

    def allows(self, size: int, now: float) -> bool:
        """Tell whether `size` bytes may pass now; the first call begins to count the time."""
        if self._filled_at < 0:
            self._filled_at = now
        if self.left < size:
            self._fill(now)
        return self.left >= size

    def passed(self) -> int:
        """Return how many bytes were taken since the last call."""
        passed, self._noted = self._noted - self.left, self.left
        return passed

    def _fill(self, now: float) -> None:
        if self._aside:
            if now < self._counted_at + 1.0:
                return
            self._packets, self._counted_at = 0, now
            self.left += self._aside
            self._noted += self._aside
            self._aside = 0
        earned = (now - self._filled_at) * self._bytes_per_s
        room = self._most - self.left
        if earned >= room or not self._bytes_per_s:
            self._filled_at = now
        else:
            room = int(earned)
            self._filled_at += room / self._bytes_per_s  # what is less than a byte is earned later
        self.left += room
        self._noted += room
