"""Which credential a request carries, and what becomes of it."""

import pytest
from starlette.requests import HTTPConnection

from app.authenticate import Authenticator, SocketCredential
from channels.auth.ticket import Ticket, Tickets
from channels.errors import (
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidArgumentException,
    MissingAuthenticationTokenException,
    ServiceError,
    UnrecognizedClientException,
)
from channels.names import Role
from tests.app.door import ARN, NOW, SIGNATURE, Clock, connection, grant, jwt

# REST


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "  Bearer  "])
def test_call_is_made_with_a_bearer_token(authenticator: Authenticator, scheme: str) -> None:
    assert authenticator.request(connection(authorization=[f"{scheme} {jwt()}"])).subject == "alice"


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (connection(), MissingAuthenticationTokenException, "Authorization: Bearer"),
        (connection(query=[("token", jwt())]), MissingAuthenticationTokenException, "in the header"),
        (connection(query=[("ticket", "x")]), MissingAuthenticationTokenException, "in the header"),
        (connection(authorization=[SIGNATURE]), IncompleteSignatureException, "x-amz-date"),
        (connection(query=[("X-Amz-Signature", "0")]), MissingAuthenticationTokenException, "in the header"),
        (connection(authorization=["Basic dTpw"]), UnrecognizedClientException, "Bearer"),
        (connection(authorization=["x"]), UnrecognizedClientException, "Bearer"),
        (connection(authorization=["Bearer"]), UnrecognizedClientException, "not a JSON Web Token"),
        (connection(authorization=["Bearer a b"]), UnrecognizedClientException, "not a JSON Web Token"),
        (connection(authorization=[f"Bearer {jwt()}"] * 2), InvalidArgumentException, "more than one"),
        (connection([("token", jwt())], [f"Bearer {jwt()}"]), InvalidArgumentException, "more than one"),
        (connection([("X-Amz-Signature", "0")], [f"Bearer {jwt()}"]), InvalidArgumentException, "more than one"),
        (connection([("X-Amz-Signature", "0")], [SIGNATURE]), InvalidArgumentException, "more than one"),
        (connection(authorization=[f"Bearer {jwt(NOW - 600)}"]), ExpiredTokenException, "expired"),
    ],
)
def test_call_without_a_good_token_is_refused_by_name(
    authenticator: Authenticator, given: HTTPConnection, error: type[ServiceError], words: str
) -> None:
    with pytest.raises(error, match=words):
        authenticator.request(given)
    assert authenticator.request(connection(authorization=[f"Bearer {jwt()}"]))


# Websockets


@pytest.mark.parametrize(
    ("given", "subprotocol"),
    [
        (connection(authorization=[f"Bearer {jwt()}"]), None),
        (connection(query=[("token", jwt())]), None),
        (connection(query=[("jwt", jwt())]), None),
        (connection(query=[("X-Kvs-Token", jwt())]), None),
        (connection(query=[("x-kvs-token", jwt()), ("X-Amz-ChannelARN", str(ARN))]), None),
        (connection(offered=["kvs-signaling", f"bearer.{jwt()}"]), "kvs-signaling"),
        (connection(offered=[f"bearer.{jwt()}", "kvs-signaling"]), "kvs-signaling"),
        (connection(offered=[f"bearer.{jwt()}"]), None),
        (connection(query=[("token", jwt())], offered=["kvs-signaling"]), "kvs-signaling"),
        (connection(query=[("token", jwt())], offered=["wss"]), None),
    ],
)
async def test_socket_takes_a_token_in_each_way_and_never_echoes_it(
    authenticator: Authenticator, given: HTTPConnection, subprotocol: str | None
) -> None:
    credential = await authenticator.socket(given)
    assert credential.grant.subject == "alice"
    assert credential.ticket is None
    assert credential.subprotocol == subprotocol


@pytest.mark.parametrize(
    "given",
    [
        connection(query=[("token", jwt()), ("jwt", jwt())]),
        connection(query=[("token", jwt()), ("token", jwt())]),
        connection(query=[("token", jwt()), ("ticket", "x")]),
        connection(query=[("ticket", "x"), ("ticket", "x")]),
        connection(query=[("token", jwt()), ("X-Amz-Signature", "0")]),
        connection([("token", jwt())], [f"Bearer {jwt()}"]),
        connection([("token", jwt())], offered=["kvs-signaling", f"bearer.{jwt()}"]),
        connection(offered=["kvs-signaling", f"bearer.{jwt()}", f"bearer.{jwt()}"]),
        connection(authorization=[SIGNATURE], offered=["kvs-signaling", f"bearer.{jwt()}"]),
    ],
)
async def test_socket_with_two_credentials_is_refused(authenticator: Authenticator, given: HTTPConnection) -> None:
    with pytest.raises(InvalidArgumentException, match="more than one credential"):
        await authenticator.socket(given)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (connection(), MissingAuthenticationTokenException),
        (connection(offered=["kvs-signaling"]), MissingAuthenticationTokenException),
        (connection(offered=["kvs-signaling", "bearer."]), UnrecognizedClientException),
        (connection(query=[("token", "")]), UnrecognizedClientException),
        (connection(query=[("ticket", "")]), UnrecognizedClientException),
        (connection(query=[("ticket", "x" * 43)]), UnrecognizedClientException),
        (connection(query=[("X-Amz-Signature", "0"), ("X-Amz-Expires", "299")]), IncompleteSignatureException),
        (connection(query=[("X-Amz-Credential", "a"), ("x-amz-signature", "0")]), IncompleteSignatureException),
        (connection(authorization=[SIGNATURE]), IncompleteSignatureException),
        (connection(query=[("token", jwt(NOW - 600))]), ExpiredTokenException),
    ],
)
async def test_socket_without_a_good_credential_is_refused_by_name(
    authenticator: Authenticator, given: HTTPConnection, error: type[ServiceError]
) -> None:
    with pytest.raises(error):
        await authenticator.socket(given)


async def test_ticket_opens_one_socket(authenticator: Authenticator, tickets: Tickets) -> None:
    ticket = Ticket(grant(), ARN, Role.VIEWER, "v-1")
    given = connection(query=[("ticket", tickets.issue(ticket, 0.0))], offered=["kvs-signaling"])
    assert await authenticator.socket(given) == SocketCredential(ticket.grant, ticket, "kvs-signaling")
    with pytest.raises(UnrecognizedClientException):
        await authenticator.socket(given)


async def test_ticket_ends_by_the_monotonic_clock(authenticator: Authenticator, tickets: Tickets, clock: Clock) -> None:
    text = tickets.issue(Ticket(grant(), ARN, Role.VIEWER, "v-1"), 0.0)
    clock.monotonic = 30.0
    with pytest.raises(UnrecognizedClientException, match="expired"):
        await authenticator.socket(connection(query=[("ticket", text)]))
