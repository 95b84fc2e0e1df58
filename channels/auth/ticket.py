"""One-shot tickets: a random text stands for a grant on one connect. Pure but for chance; the caller brings the clock.

A browser cannot set headers on a websocket, and what stands in a URL may be seen: so the text opens one socket, once,
within seconds, and only its digest is kept here.
"""

import hashlib
import hmac
import secrets
from collections import Counter, OrderedDict

import msgspec

from channels.auth.grant import Grant
from channels.errors import ClientLimitExceededException, Limit, UnrecognizedClientException
from channels.names import ChannelArn, Role

LIFETIME_S = 30.0
SUBJECT_LIMIT = 500  # that may be out
TEXT_LIMIT = 128  # characters; ours have 43
RANDOM_BYTES = 32


class Ticket(msgspec.Struct, frozen=True):
    """What one connect may be: whose, to which channel, as which role, under which client id ("" as master)."""

    grant: Grant
    arn: ChannelArn
    role: Role
    client_id: str

    def is_for(self, arn: ChannelArn, role: Role, client_id: str) -> bool:
        """Whether it opens this very connection; a master's client id is not looked at, as the service ignores it."""
        if (self.arn, self.role) != (arn, role):
            return False
        return role is Role.MASTER or hmac.compare_digest(self.client_id.encode(), client_id.encode())


class TicketStats(msgspec.Struct):
    """Plain counters: tickets issued, redeemed, unknown, too old, and refused for want of room."""

    issued: int = 0
    redeemed: int = 0
    unknown: int = 0
    expired: int = 0
    refused: int = 0


class Tickets:
    """The tickets that are out. Full, for all or for one subject, it refuses new ones and keeps those it gave."""

    def __init__(self, lifetime_s: float = LIFETIME_S, limit: int = 10_000, subject_limit: int = SUBJECT_LIMIT) -> None:
        self.lifetime_s = lifetime_s
        self.stats = TicketStats()
        self._limit = limit
        self._subject_limit = subject_limit
        self._out: OrderedDict[bytes, tuple[Ticket, float]] = OrderedDict()  # oldest first, so the first ends first
        self._by_subject: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._out)

    def issue(self, ticket: Ticket, now: float) -> str:
        """Return 43 characters that `redeem` takes once before `now` + `lifetime_s` (monotonic seconds).

        Raises: ClientLimitExceededException when too many are out.
        """
        self._forget_expired(now)
        owner = owner_of(ticket)
        if len(self._out) >= self._limit:
            raise self._full("tickets", self._limit, now)
        if self._by_subject[owner] >= self._subject_limit:
            raise self._full("tickets_per_subject", self._subject_limit, now)
        text = secrets.token_urlsafe(RANDOM_BYTES)
        self._out[digest_of(text)] = (ticket, now + self.lifetime_s)
        self._by_subject[owner] += 1
        self.stats.issued += 1
        return text

    def redeem(self, text: str, now: float) -> Ticket:
        """Take the ticket; a second call with the same text finds none, even when the connect fails after this.

        Raises: UnrecognizedClientException when there is no such ticket (any more).
        """
        found = self._out.pop(digest_of(text), None) if len(text) <= TEXT_LIMIT else None
        if found is None:
            self.stats.unknown += 1
            raise unknown()
        ticket, ends_at = found
        self._release(ticket)
        if now >= ends_at:
            self.stats.expired += 1
            raise UnrecognizedClientException("the ticket has expired: get a new one for each connect")
        self.stats.redeemed += 1
        return ticket

    def _forget_expired(self, now: float) -> None:
        while self._out:
            name, (ticket, ends_at) = next(iter(self._out.items()))
            if now < ends_at:
                return
            del self._out[name]
            self._release(ticket)
            self.stats.expired += 1

    def _release(self, ticket: Ticket) -> None:
        owner = owner_of(ticket)
        self._by_subject[owner] -= 1
        if not self._by_subject[owner]:
            del self._by_subject[owner]

    def _full(self, name: str, value: int, now: float) -> ClientLimitExceededException:
        self.stats.refused += 1
        _, ends_at = next(iter(self._out.values()))
        return too_many(name, value, max(0.0, ends_at - now))


def too_many(name: str, value: int, wait_s: float) -> ClientLimitExceededException:
    """The error for one ticket too many, by the name of the limit; the first that is out ends in `wait_s`."""
    return ClientLimitExceededException(
        f"{value} tickets are out and unused ({name}): try again in {wait_s:.0f} s", Limit(name, value, wait_s)
    )


def unknown() -> UnrecognizedClientException:
    """The error for a text that is no ticket, or none any more."""
    return UnrecognizedClientException("the ticket is unknown, used or expired: get a new one for each connect")


def owner_of(ticket: Ticket) -> tuple[str, str]:
    """Whose tickets are counted together: account and subject."""
    return (ticket.grant.account, ticket.grant.root)


def digest_of(text: str) -> bytes:
    """What is kept of a ticket's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
