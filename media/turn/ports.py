"""Which relay port comes next: shuffled by a seed, even ports and pairs, the longest unused first. No sockets."""

import hmac
import math
from collections import OrderedDict

import msgspec

RESERVATION_S = 30.0


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """A port kept for whoever brings its token (RFC 8656, 7.2)."""

    port: int
    family: int
    quota_key: bytes
    expires_at: float


class Ports:
    """The ports of a range, each free, in use or reserved; freed ones go to the end of the queue.

    `worker` is the first byte of the tokens: of several processes one alone can redeem a token.
    """

    def __init__(self, first: int, last: int, seed: bytes, worker: int = 0) -> None:
        self._worker = (worker & 0xFF).to_bytes(1)
        self._free: OrderedDict[int, None] = OrderedDict()
        self._even: OrderedDict[int, None] = OrderedDict()  # those of _free that are even
        self._pairs: OrderedDict[int, None] = OrderedDict()  # those of _even whose next port is free, too
        for port in sorted(range(first, last + 1), key=lambda port: hmac.digest(seed, b"%d" % port, "sha256")):
            self.give_back(port)
        self._seed = seed
        self._serial = 0
        self._reservations: dict[bytes, Reservation] = {}  # in the order of their ends
        self._reserved: dict[bytes, int] = {}

    @property
    def free_count(self) -> int:
        """Number of ports that can be taken now."""
        return len(self._free)

    def take(self) -> int | None:
        """Take the port that was unused longest, None when all are taken."""
        return self._take_first(self._free)

    def take_even(self, *, with_next: bool) -> int | None:
        """Take an even port, `with_next` one whose odd neighbour is free too: it stays free until `reserve`."""
        return self._take_first(self._pairs if with_next else self._even)

    def give_back(self, port: int) -> None:
        """Return a port that was taken; it will be the last to be handed out again."""
        self._free[port] = None
        even = port & ~1
        if port == even:
            self._even[port] = None
        if even in self._free and even + 1 in self._free:
            self._pairs[even] = None

    def reserve(self, port: int, family: int, quota_key: bytes, now: float) -> bytes | None:
        """Keep a free port for 30 s; return the token of 8 bytes, None when the port is not free."""
        if port not in self._free:
            return None
        self._take(port)
        self._serial += 1
        token = self._worker + hmac.digest(self._seed, b"token %d" % self._serial, "sha256")[:7]
        self._reservations[token] = Reservation(port, family, quota_key, now + RESERVATION_S)
        self._reserved[quota_key] = self._reserved.get(quota_key, 0) + 1
        return token

    def reserved(self, quota_key: bytes) -> int:
        """Number of ports that are reserved for this quota key."""
        return self._reserved.get(quota_key, 0)

    def cancel(self, token: bytes) -> None:
        """Free the port of a reservation whose token was never told to anybody; one that ended meanwhile is free."""
        if token in self._reservations:
            self.give_back(self._forget(token).port)

    def is_foreign(self, token: bytes) -> bool:
        """Tell whether another process made this token."""
        return token[:1] != self._worker

    def redeem(self, token: bytes, quota_key: bytes, now: float) -> Reservation | None:
        """Take the reserved port, once; None when the token is unknown, expired or of another quota key."""
        reservation = self._reservations.get(token)
        if reservation is None or reservation.expires_at <= now or reservation.quota_key != quota_key:
            return None
        return self._forget(token)

    def expire(self, now: float) -> None:
        """Free the ports of reservations that nobody redeemed."""
        while self.next_deadline() <= now:
            self.give_back(self._forget(next(iter(self._reservations))).port)

    def next_deadline(self) -> float:
        """Instant at which the next reservation ends, infinite without one."""
        for reservation in self._reservations.values():
            return reservation.expires_at
        return math.inf

    def _take_first(self, ports: OrderedDict[int, None]) -> int | None:
        port = next(iter(ports), None)
        if port is not None:
            self._take(port)
        return port

    def _take(self, port: int) -> None:
        del self._free[port]
        even = port & ~1
        if port == even:
            del self._even[port]
        self._pairs.pop(even, None)

    def _forget(self, token: bytes) -> Reservation:
        reservation = self._reservations.pop(token)
        left = self._reserved[reservation.quota_key] - 1
        if left:
            self._reserved[reservation.quota_key] = left
        else:
            del self._reserved[reservation.quota_key]
        return reservation
