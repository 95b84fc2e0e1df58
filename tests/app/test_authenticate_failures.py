"""Sources that keep failing are refused for a while, and who is heard all the same."""

import pytest

from app.authenticate import Authenticator
from channels.auth.ticket import Ticket, Tickets
from channels.errors import ClientLimitExceededException, ServiceError, UnrecognizedClientException
from channels.names import Role
from tests.app.door import ARN, NOW, SIGNATURE, Clock, bad, connection, grant, jwt


def test_source_that_keeps_failing_is_refused_for_a_while(authenticator: Authenticator, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(UnrecognizedClientException):
            authenticator.request(bad())
    with pytest.raises(ClientLimitExceededException) as refused:
        authenticator.request(bad())
    assert refused.value.limit is not None
    assert refused.value.limit.retry_after_s == 1.0
    with pytest.raises(UnrecognizedClientException):
        authenticator.request(bad("192.0.2.2"))
    clock.monotonic = 1.0
    assert authenticator.request(connection(authorization=[f"Bearer {jwt()}"]))


async def test_bad_tickets_count_too(authenticator: Authenticator) -> None:
    for _ in range(3):
        with pytest.raises(UnrecognizedClientException):
            await authenticator.socket(connection(query=[("ticket", "x")]))
    with pytest.raises(ClientLimitExceededException):
        await authenticator.socket(connection(query=[("ticket", "x")]))


async def test_known_token_and_good_ticket_are_heard_from_a_source_full_of_failures(
    authenticator: Authenticator, tickets: Tickets
) -> None:
    good = jwt()
    authenticator.request(connection(authorization=[f"Bearer {good}"]))
    for _ in range(3):
        with pytest.raises(UnrecognizedClientException):
            authenticator.request(bad())
    assert authenticator.request(connection(authorization=[f"Bearer {good}"]))
    text = tickets.issue(Ticket(grant(), ARN, Role.VIEWER, "v-1"), 0.0)
    assert await authenticator.socket(connection(query=[("ticket", text)]))
    with pytest.raises(ClientLimitExceededException):
        authenticator.request(connection(authorization=[f"Bearer {jwt(subject='bob')}"]))


def test_requests_that_prove_nothing_wrong_do_not_count(authenticator: Authenticator) -> None:
    harmless = (
        connection(),
        connection(authorization=[SIGNATURE]),
        connection(authorization=["Basic dTpw"]),
        connection(authorization=[f"Bearer {jwt(NOW - 600)}"]),
        connection([("token", "x")], ["Bearer x"]),
    )
    for given in harmless * 5:
        with pytest.raises(ServiceError):
            authenticator.request(given)
    assert authenticator.request(connection(authorization=[f"Bearer {jwt()}"]))
    assert authenticator.failures.stats.failures == 0


def test_source_without_an_address_is_one_source(authenticator: Authenticator) -> None:
    for _ in range(3):
        with pytest.raises(UnrecognizedClientException):
            authenticator.request(bad(None))
    with pytest.raises(ClientLimitExceededException):
        authenticator.request(bad(None))
