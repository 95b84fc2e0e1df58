"""Failed authentications per source: a table of fixed size, one number each. Pure; the caller brings the clock.

The number is when the source's token bucket will be full again (generic cell rate algorithm, ITU-T I.371).
"""

import ipaddress
from collections import OrderedDict

import msgspec

from channels.errors import ClientLimitExceededException, Limit

_IPV6_SITE_BITS = 64  # one site holds a /64: whoever has it has all its addresses


class FailureStats(msgspec.Struct):
    """Plain counters: failures counted, requests refused unheard, sources forgotten for want of room."""

    failures: int = 0
    refused: int = 0
    evicted: int = 0


class Failures:
    """Lets a source fail `burst` times at once and `rate` times per second on average, then refuses it unheard.

    At `limit` sources the one that failed longest ago is forgotten.
    """

    def __init__(self, rate: float = 1.0, burst: float = 20.0, limit: int = 4096) -> None:
        self.stats = FailureStats()
        self._rate = rate
        self._span_s = burst / rate  # an empty bucket takes as long to fill
        self._limit = limit
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def check(self, source: str, now: float) -> None:
        """Refuse a source that has failed too often at `now` (monotonic seconds).

        Raises: ClientLimitExceededException with the seconds to wait.
        """
        full_at = self._full_at.get(_site(source), now)
        wait_s = full_at + 1.0 / self._rate - self._span_s - now
        if wait_s <= 0.0:
            return
        self.stats.refused += 1
        raise ClientLimitExceededException(
            f"too many failed authentications from this address: try again in {wait_s:.1f} s",
            Limit("failed_authentications_per_second", self._rate, wait_s),
        )

    def count(self, source: str, now: float) -> None:
        """Note one failed authentication of `source`."""
        self.stats.failures += 1
        name = _site(source)
        full_at = max(self._full_at.get(name, now), now) + 1.0 / self._rate
        self._full_at[name] = min(full_at, now + self._span_s)  # an empty bucket does not get emptier
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._limit:
            self._full_at.popitem(last=False)
            self.stats.evicted += 1


def _site(source: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in source:
        return source
    try:
        address = ipaddress.IPv6Address(source.partition("%")[0])
    except ValueError:
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))
