"""Request to Grant: which credential a request carries, whether it is good, and what it may do. Knows no routes."""

from collections.abc import Callable, Sequence

import msgspec
from starlette.requests import HTTPConnection

from channels.auth.failures import Failures
from channels.auth.grant import Grant, decide
from channels.auth.ticket import Ticket, Tickets
from channels.auth.token import TokenVerifier
from channels.errors import (
    AccessDeniedException,
    InvalidArgumentException,
    MissingAuthenticationTokenException,
    ServiceError,
    UnrecognizedClientException,
)
from channels.names import ChannelArn, Role

SUBPROTOCOL = "kvs-signaling"
BEARER_SUBPROTOCOL = "bearer."
TOKEN_PARAMETERS = ("token", "jwt", "x-kvs-token")  # lower case: X-Kvs-Token is spelled as people like
TICKET_PARAMETER = "ticket"
_SIGNATURE_PARAMETERS = ("x-amz-signature", "x-amz-credential", "x-amz-algorithm")
_SIGNATURE_SCHEME = "aws4-hmac-sha256"
_ACTIONS = {Role.MASTER: "ConnectAsMaster", Role.VIEWER: "ConnectAsViewer"}

Event = dict[str, str]


class SocketCredential(msgspec.Struct, frozen=True):
    """Outcome of a websocket's authentication; `subprotocol` is what the handshake answers, never a token."""

    grant: Grant
    ticket: Ticket | None
    subprotocol: str | None


class _Credentials(msgspec.Struct):
    """Credentials by kind, each as often as the request carries it."""

    tokens: list[str] = []
    tickets: list[str] = []
    signatures: int = 0
    foreign_schemes: int = 0

    @property
    def count(self) -> int:
        return len(self.tokens) + len(self.tickets) + self.signatures + self.foreign_schemes


def authorise(
    grant: Grant,
    action: str,
    resource: str,
    error: type[ServiceError] = AccessDeniedException,
    event: Event | None = None,
) -> None:
    """Do nothing when `grant` allows `action` on `resource` (an ARN, a pattern of one name, or `*`).

    `event`, which the audit log will get, is told what was decided on and by which statement.

    Raises: `error` with the reason.
    """
    decision = decide(grant, action, resource)
    if event is not None:
        event["channel"] = resource
        event["sid"] = decision.sid
    if not decision.is_allowed:
        raise error(decision.reason)


def authorise_connect(
    grant: Grant, ticket: Ticket | None, arn: ChannelArn, role: Role, client_id: str, event: Event | None = None
) -> None:
    """Do nothing when the caller may open this connection; a ticket opens only the one that it was issued for.

    `event` as in `authorise`. Raises: AccessDeniedException with the reason.
    """
    if ticket is not None and not ticket.is_for(arn, role, client_id):
        raise AccessDeniedException("the ticket was issued for another channel, role or client id")
    authorise(grant, _ACTIONS[role], str(arn), event=event)
    if role is Role.VIEWER and grant.client_id is not None and grant.client_id != client_id:
        raise AccessDeniedException(f"{grant.subject} may connect only under the client id of its token (cid)")


class Authenticator:
    """Decides who calls. `wall` gives epoch seconds (tokens), `monotonic` seconds (tickets, failure limits)."""

    def __init__(
        self,
        verifier: TokenVerifier,
        tickets: Tickets,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        failures: Failures | None = None,
    ) -> None:
        self.failures = failures if failures is not None else Failures()
        self.verifier = verifier
        self._tickets = tickets
        self._wall = wall
        self._monotonic = monotonic

    def request(self, connection: HTTPConnection) -> Grant:
        """Return the grant of a REST call, which carries `Authorization: Bearer` and no other credential.

        Raises: MissingAuthenticationTokenException, UnrecognizedClientException, ExpiredTokenException,
        InvalidArgumentException (two credentials), ClientLimitExceededException (this address failed too often).
        """
        found = _collect(connection)
        if not connection.headers.get("authorization"):
            raise MissingAuthenticationTokenException("a call carries its token in the header, not in the query")
        return self._verify(found.tokens[0], connection)

    def socket(self, connection: HTTPConnection) -> SocketCredential:
        """Return the grant of a websocket: a ticket, a subprotocol `bearer.<token>`, a query token or a header.

        Raises: as `request`.
        """
        found = _collect(connection)
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in _offered(connection) else None
        if found.tickets:
            ticket = self._redeem(found.tickets[0], connection)
            return SocketCredential(ticket.grant, ticket, subprotocol)
        return SocketCredential(self._verify(found.tokens[0], connection), None, subprotocol)

    def _verify(self, token: str, connection: HTTPConnection) -> Grant:
        """A token that passed before is heard even when its address is full of failures by others."""
        wall = self._wall()
        known = self.verifier.recall(token, wall)
        if known is not None:
            return known
        source, now = _source(connection), self._monotonic()
        self.failures.check(source, now)
        try:
            return self.verifier.verify(token, wall)
        except UnrecognizedClientException:
            self.failures.count(source, now)
            raise

    def _redeem(self, text: str, connection: HTTPConnection) -> Ticket:
        """Looked up before the failure limit: a ticket cannot be guessed, and the look costs one hash."""
        now = self._monotonic()
        try:
            return self._tickets.redeem(text, now)
        except UnrecognizedClientException:
            source = _source(connection)
            self.failures.check(source, now)
            self.failures.count(source, now)
            raise


def _collect(connection: HTTPConnection) -> _Credentials:
    """Return the one credential of a request. Raises: ServiceError when there is none, two, or one not served."""
    found = _Credentials()
    _from_headers(connection, found)
    _from_query(connection, found)
    if found.count > 1:
        raise InvalidArgumentException("the request carries more than one credential: send one")
    if found.count == 0:
        raise MissingAuthenticationTokenException("no credential: send Authorization: Bearer and a token")
    if found.signatures:
        raise UnrecognizedClientException(
            "AWS signatures (SigV4) are not served by this version: send Authorization: Bearer and a token"
        )
    if found.foreign_schemes:
        raise UnrecognizedClientException("the Authorization header must be Bearer and a token")
    return found


def _from_headers(connection: HTTPConnection, found: _Credentials) -> None:
    for value in connection.headers.getlist("authorization"):
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            found.tokens.append(rest.strip())
        elif scheme.lower() == _SIGNATURE_SCHEME:
            found.signatures += 1
        else:
            found.foreign_schemes += 1
    for name in _offered(connection):
        if name.lower().startswith(BEARER_SUBPROTOCOL):
            found.tokens.append(name[len(BEARER_SUBPROTOCOL) :])


def _from_query(connection: HTTPConnection, found: _Credentials) -> None:
    parameters = [(name.lower(), value) for name, value in connection.query_params.multi_items()]
    found.tokens += [value for name, value in parameters if name in TOKEN_PARAMETERS]
    found.tickets += [value for name, value in parameters if name == TICKET_PARAMETER]
    found.signatures += any(name in _SIGNATURE_PARAMETERS for name, _ in parameters)


def _offered(connection: HTTPConnection) -> Sequence[str]:
    """The subprotocols that a websocket offers; a plain request has none."""
    offered: Sequence[str] = connection.scope.get("subprotocols", ())
    return offered


def _source(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
