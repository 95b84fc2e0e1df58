"""Tickets of one process: the rules of `channels/auth/ticket.py` with a clock."""

import time
from collections.abc import Callable

from channels.auth.ticket import Ticket, Tickets


class EmbeddedTickets:
    """The tickets that are out in this process; `now` gives monotonic seconds."""

    def __init__(self, tickets: Tickets | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._tickets = Tickets() if tickets is None else tickets
        self.lifetime_s = self._tickets.lifetime_s
        self.stats = self._tickets.stats
        self._now = now

    async def issue(self, ticket: Ticket) -> str:
        """Return 43 characters that `redeem` takes once. Raises: ClientLimitExceededException (too many are out)."""
        return self._tickets.issue(ticket, self._now())

    async def redeem(self, text: str) -> Ticket:
        """Take the ticket, whatever comes of the connect. Raises: UnrecognizedClientException (there is none)."""
        return self._tickets.redeem(text, self._now())
