"""What the process's own clock adds to the rules of tickets."""

import pytest

from channels.auth.grant import Grant
from channels.auth.ticket import Ticket
from channels.embedded.tickets import EmbeddedTickets
from channels.errors import UnrecognizedClientException
from channels.names import ChannelArn, Role

TICKET = Ticket(
    Grant("s", "000000000000", (), 9e9), ChannelArn("aws", "us-west-2", "0" * 12, "door", 1), Role.MASTER, ""
)


async def test_a_ticket_ends_by_the_clock() -> None:
    now = [0.0]
    tickets = EmbeddedTickets(now=lambda: now[0])
    texts = [await tickets.issue(TICKET) for _ in range(2)]
    now[0] = tickets.lifetime_s - 0.1
    assert await tickets.redeem(texts[0]) == TICKET
    now[0] = tickets.lifetime_s
    with pytest.raises(UnrecognizedClientException, match="expired"):
        await tickets.redeem(texts[1])
    assert (tickets.stats.issued, tickets.stats.redeemed, tickets.stats.expired) == (2, 1, 1)
