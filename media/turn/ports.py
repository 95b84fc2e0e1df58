"""Which relay port comes next: shuffled by a seed, even ports and pairs, the longest unused first. No sockets."""

import hmac

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
        order = sorted(range(first, last + 1), key=lambda port: hmac.digest(seed, b"%d" % port, "sha256"))
        self._free = dict.fromkeys(order)
        self._size = len(order)
        self._seed = seed
        self._serial = 0
        self._reservations: dict[bytes, Reservation] = {}

    @property
    def free_count(self) -> int:
        """Number of ports that can be taken now."""
        return len(self._free)

    def take(self) -> int | None:
        """Take the port that was unused longest, None when all are taken."""
        port = next(iter(self._free), None)
        if port is not None:
            del self._free[port]
        return port

    def take_even(self, *, with_next: bool) -> int | None:
        """Take an even port, `with_next` one whose odd neighbour is free too: it stays free until `reserve`."""
        for port in self._free:
            if port % 2 == 0 and (not with_next or port + 1 in self._free):
                del self._free[port]
                return port
        return None

    def give_back(self, port: int) -> None:
        """Return a port that was taken; it will be the last to be handed out again."""
        self._free[port] = None

    def reserve(self, port: int, family: int, quota_key: bytes, now: float) -> bytes | None:
        """Keep a free port for 30 s; return the token of 8 bytes, None when the port is not free."""
        if port not in self._free:
            return None
        del self._free[port]
        self._serial += 1
        token = self._worker + hmac.digest(self._seed, b"token %d" % self._serial, "sha256")[:7]
        self._reservations[token] = Reservation(port, family, quota_key, now + RESERVATION_S)
        return token

    def reserved(self, quota_key: bytes) -> int:
        """Number of ports that are reserved for this quota key."""
        return sum(reservation.quota_key == quota_key for reservation in self._reservations.values())

    def cancel(self, token: bytes) -> None:
        """Free the port of a reservation whose token was never told to anybody."""
        self.give_back(self._reservations.pop(token).port)

    def is_foreign(self, token: bytes) -> bool:
        """Tell whether another process made this token."""
        return token[:1] != self._worker

    def redeem(self, token: bytes, quota_key: bytes, now: float) -> Reservation | None:
        """Take the reserved port, once; None when the token is unknown, expired or of another quota key."""
        reservation = self._reservations.get(token)
        if reservation is None or reservation.expires_at <= now or reservation.quota_key != quota_key:
            return None
        del self._reservations[token]
        return reservation

    def expire(self, now: float) -> None:
        """Free the ports of reservations that nobody redeemed."""
        for token, reservation in list(self._reservations.items()):
            if reservation.expires_at <= now:
                del self._reservations[token]
                self.give_back(reservation.port)

    def next_deadline(self) -> float | None:
        """Instant at which the next reservation ends, None without one."""
        return min((reservation.expires_at for reservation in self._reservations.values()), default=None)
