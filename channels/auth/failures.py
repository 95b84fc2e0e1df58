"""Failed authentications per source: a table of fixed size and its token buckets. Pure; the caller brings the clock."""

import ipaddress
from collections import OrderedDict

import msgspec

from channels.bucket import Bucket
from channels.errors import ClientLimitExceededException, Limit

_IPV6_SITE_BITS = 64  # one site holds a /64: whoever has it has all its addresses


class FailureStats(msgspec.Struct):
    """Plain counters: failures counted, requests refused unheard, sources forgotten for want of room."""

    failures: int = 0
    refused: int = 0
    evicted: int = 0


class _Source:
    __slots__ = ("blocked_until", "bucket")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.blocked_until = 0.0


class Failures:
    """Lets a source fail `burst` times at once and `rate` times per second on average, then refuses it unheard.

    At `limit` sources the one that failed longest ago is forgotten.
    """

    def __init__(self, rate: float = 1.0, burst: float = 20.0, limit: int = 4096) -> None:
        self.stats = FailureStats()
        self._rate = rate
        self._burst = burst
        self._limit = limit
        self._sources: OrderedDict[str, _Source] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def check(self, source: str, now: float) -> None:
        """Refuse a source that has failed too often at `now` (monotonic seconds).

        Raises: ClientLimitExceededException with the seconds to wait.
        """
        found = self._sources.get(_site(source))
        if found is None or now >= found.blocked_until:
            return
        self.stats.refused += 1
        wait_s = found.blocked_until - now
        raise ClientLimitExceededException(
            f"too many failed authentications from this address: try again in {wait_s:.1f} s",
            Limit("failed_authentications_per_second", self._rate, wait_s),
        )

    def count(self, source: str, now: float) -> None:
        """Note one failed authentication of `source`."""
        self.stats.failures += 1
        name = _site(source)
        found = self._sources.get(name)
        if found is None:
            found = self._sources[name] = _Source(Bucket(self._rate, self._burst, now))
        self._sources.move_to_end(name)
        if len(self._sources) > self._limit:
            self._sources.popitem(last=False)
            self.stats.evicted += 1
        wait_s = found.bucket.take(now)
        if wait_s > 0.0:
            found.blocked_until = now + wait_s


def _site(source: str) -> str:
    if ":" not in source:
        return source
    try:
        return str(ipaddress.ip_network((source.partition("%")[0], _IPV6_SITE_BITS), strict=False))
    except ValueError:
        return source
