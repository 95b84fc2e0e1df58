"""Where one-shot tickets are while they are out: the interface. What a ticket is, `channels/auth/ticket.py` says."""

from typing import Protocol

from channels.auth.ticket import Ticket, TicketStats


class TicketBook(Protocol):
    """The tickets that are out, for every node of a service; each opens one connect, once, within `lifetime_s`.

    Both methods raise ServiceUnavailableException when the place where tickets are does not answer.
    """

    lifetime_s: float
    stats: TicketStats

    async def issue(self, ticket: Ticket) -> str:
        """Return 43 characters that `redeem` takes once. Raises: ClientLimitExceededException (too many are out)."""

    async def redeem(self, text: str) -> Ticket:
        """Take the ticket, whatever comes of the connect. Raises: UnrecognizedClientException (there is none)."""
