"""What coturn tells of its allocations by way of Redis, counted under the names of our own server. No I/O, no clock.

A topic is `turn/realm/REALM/user/NAME/allocation/ID/KIND`; a name may hold slashes. Of the kinds two are heard:
`status` (`new`, `refreshed`, `deleted`), and `traffic/peer`, the packets and bytes from (rcv) and to (sent) peers since
it was told last. What is told is lost while Redis is away: an allocation that is not refreshed in time has ended.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from media.turn.usage import Usage, Usages

ALLOCATIONS: Final = 100_000
"""That are known at a time; the one that was heard of least lately goes first."""
_TOPIC: Final = re.compile(r"turn/realm/[^/]*/user/(.+)/allocation/([0-9]{1,20})/(status|traffic/peer)")
_LIFE: Final = re.compile(r"(?:new|refreshed) lifetime=([0-9]{1,9}), type=([A-Z]{1,8}),.* ssl=([^,]{0,40})")
_TRAFFIC: Final = re.compile(r"rcvp=([0-9]{1,18}), rcvb=([0-9]{1,18}), sentp=([0-9]{1,18}), sentb=([0-9]{1,18})")
_LATE_S: Final = 60.0


class _Allocation(msgspec.Struct):
    transport: str
    until: float
    quota_key: bytes | None
    usage: Usage | None


class CoturnStatistics:
    """Counts from the start on. `quota_key_of` a user name is what its usage is told by, None for no name of ours."""

    def __init__(self, quota_key_of: Callable[[str], bytes | None]) -> None:
        self._quota_key_of = quota_key_of
        self._live: OrderedDict[tuple[str, str], _Allocation] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._usages = Usages()

    def take(self, topic: str, text: str, now: float) -> None:
        """Hear one message; what is none of coturn's is ignored."""
        match = _TOPIC.fullmatch(topic)
        if match is None:
            return
        name, number, kind = match.groups()
        if kind == "traffic/peer":
            self._add((name, number), text)
        elif text == "deleted":
            self._end((name, number))
        elif life := _LIFE.match(text):
            self._renew((name, number), life, now)

    def counters(self, now: float) -> dict[str, float]:
        """Return the counters by name."""
        for key in [key for key, found in self._live.items() if found.until < now]:
            self._end(key)
        now_open = Counter(f"transports.{found.transport}" for found in self._live.values())
        return {name: float(count) for name, count in (*self._counts.items(), *now_open.items())}

    def usage(self) -> dict[bytes, Usage]:
        """Return what each quota key used."""
        return self._usages.all()

    def _renew(self, key: tuple[str, str], life: re.Match[str], now: float) -> None:
        lifetime, kind, cipher = life.groups()
        found = self._live.get(key)
        if found is None:
            secure = {"UDP": "dtls", "TCP": "tls"} if cipher != "NONE" else {}
            quota_key = self._quota_key_of(key[0])
            usage = None if quota_key is None else self._usages.begin(quota_key)
            found = self._live[key] = _Allocation(secure.get(kind, kind.lower()), 0.0, quota_key, usage)
            self._counts["allocations_total"] += 1
            if len(self._live) > ALLOCATIONS:
                self._end(next(iter(self._live)))
        found.until = now + float(lifetime) + _LATE_S
        self._live.move_to_end(key)

    def _add(self, key: tuple[str, str], text: str) -> None:
        match = _TRAFFIC.fullmatch(text)
        if match is None:
            return
        received_packets, received_bytes, sent_packets, sent_bytes = map(int, match.groups())
        for name, count in (
            ("packets_to_clients", received_packets),
            ("bytes_to_clients", received_bytes),
            ("packets_to_peers", sent_packets),
            ("bytes_to_peers", sent_bytes),
        ):
            self._counts[name] += count
        found = self._live.get(key)
        if found is not None and found.usage is not None:
            found.usage.bytes_to_clients += received_bytes
            found.usage.bytes_to_peers += sent_bytes

    def _end(self, key: tuple[str, str]) -> None:
        found = self._live.pop(key, None)
        if found is not None and found.quota_key is not None:
            self._usages.end(found.quota_key)
