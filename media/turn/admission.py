"""Which connections without an allocation may stay, and how long. No I/O, no clock."""

from collections import OrderedDict

import msgspec

from media.turn import address
from media.turn.address import SocketAddress
from media.turn.policy import ReplyBuckets


class StreamBounds(msgspec.Struct, frozen=True):
    """What TCP and TLS clients may take.

    A connection must have sent its first byte and ended its handshake after `handshake_s`, and must have an
    allocation after `idle_unauthenticated_s`, whatever it sends: a Binding now and then would else hold it for ever.
    `arrivals_per_s` and `arrivals_burst` bound how often anybody of a network knocks: each handshake is work.
    """

    handshake_s: float = 10.0
    idle_unauthenticated_s: float = 30.0
    unauthenticated_per_source: int = 32
    unauthenticated: int = 1024
    write_buffer_bytes: int = 256 << 10
    arrivals_per_s: float = 100.0
    arrivals_burst: float = 1000.0


class Admission:
    """The strangers: connections that have no allocation, the oldest first.

    A source is an IPv4 address or an IPv6 /64. One stranger more than it may have is refused: nobody else is hurt.
    One more than there may be in all ends the oldest, who had the most time: a crowd that keeps quiet would else
    keep all others out.
    """

    def __init__(self, bounds: StreamBounds) -> None:
        self._bounds = bounds
        self._sources: dict[bytes, int] = {}
        self._strangers: OrderedDict[int, tuple[bytes, float]] = OrderedDict()
        self._half_open: OrderedDict[int, float] = OrderedDict()
        self._arrivals = ReplyBuckets(bounds.arrivals_per_s, bounds.arrivals_burst)

    def __len__(self) -> int:
        return len(self._strangers)

    def may_knock(self, source: SocketAddress, now: float) -> bool:
        """Count a knock, of an address that may be forged; False when its network had all that it may have for now."""
        return self._arrivals.take(address.pack(source[0]), 1.0, now)

    def is_full(self, source: SocketAddress) -> bool:
        """Tell whether this source has all the strangers that it may have."""
        return self._sources.get(_source(source), 0) >= self._bounds.unauthenticated_per_source

    def arrive(self, number: int, source: SocketAddress, now: float) -> int | None:
        """Take in a new connection, half-open; return the one that must make room, None when there is room."""
        self._half_open[number] = now + self._bounds.handshake_s
        self.estrange(number, source, now)
        return next(iter(self._strangers)) if len(self._strangers) > self._bounds.unauthenticated else None

    def estrange(self, number: int, source: SocketAddress, now: float) -> None:
        """Take a connection as a stranger from now on: it is new, or its allocation ended."""
        key = _source(source)
        self._sources[key] = self._sources.get(key, 0) + 1
        self._strangers[number] = (key, now + self._bounds.idle_unauthenticated_s)

    def open(self, number: int) -> None:
        """Take note that a connection is half-open no more."""
        self._half_open.pop(number, None)

    def remove(self, number: int) -> None:
        """Forget a connection that has an allocation now, or went away."""
        self._half_open.pop(number, None)
        stranger = self._strangers.pop(number, None)
        if stranger is None:
            return
        key = stranger[0]
        self._sources[key] -= 1
        if not self._sources[key]:
            del self._sources[key]

    def half_open_too_long(self, now: float) -> list[int]:
        """Return the connections that are half-open still and must not be."""
        found = []
        for number, deadline in self._half_open.items():
            if deadline > now:
                break
            found.append(number)
        return found

    def strange_too_long(self, now: float) -> list[int]:
        """Return the strangers whose time is over."""
        found = []
        for number, (_, deadline) in self._strangers.items():
            if deadline > now:
                break
            found.append(number)
        return found


def _source(source: SocketAddress) -> bytes:
    ip = address.pack(source[0])
    return ip if len(ip) == 4 else ip[:8]
