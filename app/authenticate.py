"""Request to Grant: which credential a request carries, whether it is good, and what it may do. Knows no routes."""

import re
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from starlette.requests import HTTPConnection

from app import query
from channels.auth.canonical import ALGORITHM, SignedRequest
from channels.auth.failures import Failures
from channels.auth.grant import Grant, decide
from channels.auth.signature import SignatureVerifier
from channels.auth.sigv4 import SIGNATURE_MARKS
from channels.auth.ticket import Ticket
from channels.auth.token import TokenVerifier
from channels.errors import (
    AccessDeniedException,
    InvalidArgumentException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    ServiceError,
    UnrecognizedClientException,
)
from channels.names import ChannelArn, Role
from channels.tickets import TicketBook

SUBPROTOCOL = "kvs-signaling"
BEARER_SUBPROTOCOL = "bearer."
TOKEN_PARAMETERS = ("token", "jwt", "x-kvs-token")  # lower case: X-Kvs-Token is spelled as people like
TICKET_PARAMETER = "ticket"
_SIGNATURE_SCHEME = ALGORITHM.lower()
_CLAIM = re.compile(r"(?:^|[ ,]Credential=)([A-Z0-9]{16,128})/[0-9]{8}/", re.ASCII)  # some put the secret there
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
    signed_headers: int = 0
    signed_queries: int = 0
    foreign_schemes: int = 0

    @property
    def is_signed(self) -> bool:
        return bool(self.signed_headers or self.signed_queries)

    @property
    def count(self) -> int:
        signatures = self.signed_headers + self.signed_queries
        return len(self.tokens) + len(self.tickets) + signatures + self.foreign_schemes


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
    """Decides who calls. `wall` gives epoch seconds (tokens, signatures), `monotonic` seconds (tickets, limits)."""

    def __init__(
        self,
        verifier: TokenVerifier,
        tickets: TicketBook,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        failures: Failures | None = None,
        signatures: SignatureVerifier | None = None,
    ) -> None:
        self.failures = failures if failures is not None else Failures()
        self.verifier = verifier
        self._tickets = tickets
        self._wall = wall
        self._monotonic = monotonic
        self._signatures = signatures

    def request(self, connection: HTTPConnection, body: bytes = b"") -> Grant:
        """Return the grant of a REST call: `Authorization: Bearer` and a token, or an AWS signature of the header form.

        `body` is looked at only where `signs_body`; a token is heard before the body is read.

        Raises: MissingAuthenticationTokenException, UnrecognizedClientException, ExpiredTokenException,
        InvalidSignatureException, IncompleteSignatureException, InvalidArgumentException (two credentials),
        ClientLimitExceededException (this address failed too often).
        """
        found = _collect(connection)
        if found.signed_headers:
            return self._verify_signature(connection, body)
        if not connection.headers.get("authorization"):
            raise MissingAuthenticationTokenException("a call carries its credential in the header, not in the query")
        return self._verify(found.tokens[0], connection)

    async def socket(self, connection: HTTPConnection) -> SocketCredential:
        """Return the grant of a websocket: a ticket, a subprotocol `bearer.<token>`, a query token, a presigned URL, or
        a header of either kind.

        Raises: as `request`, and ServiceUnavailableException while tickets cannot be looked up.
        """
        found = _collect(connection)
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in _offered(connection) else None
        if found.tickets:
            ticket = await self._redeem(found.tickets[0], connection)
            return SocketCredential(ticket.grant, ticket, subprotocol)
        if found.is_signed:
            return SocketCredential(self._verify_signature(connection, b""), None, subprotocol)
        return SocketCredential(self._verify(found.tokens[0], connection), None, subprotocol)

    def _verify(self, token: str, connection: HTTPConnection) -> Grant:
        """A token that passed before is heard even when its address is full of failures by others."""
        source, now = source_of(connection), self._monotonic()
        try:
            grant = self.verifier.verify(token, self._wall(), partial(self.failures.check, source, now))
        except UnrecognizedClientException:
            self.failures.count(source, now)
            raise
        return _by_itself(grant)

    def _verify_signature(self, connection: HTTPConnection, body: bytes) -> Grant:
        """Verified before the failure limit, which costs less than an answer: a good key is always heard.

        The limit replaces the answer to a guess, so that whoever guesses learns nothing more. What only came too late,
        or is not complete, is no guess. A session token costs more: one that is new here is heard as tokens are.
        """
        if self._signatures is None:
            raise UnrecognizedClientException("AWS signatures are not served here: send Authorization: Bearer")
        unless_known = partial(self.failures.check, source_of(connection), self._monotonic())
        try:
            return self._signatures.verify(signed_request(connection), body, self._wall(), unless_known)
        except (UnrecognizedClientException, InvalidSignatureException) as error:
            if isinstance(error, UnrecognizedClientException) or error.canonical_hashes:
                self._note_guess(connection)
            raise

    async def _redeem(self, text: str, connection: HTTPConnection) -> Ticket:
        """Looked up before the failure limit: a ticket cannot be guessed, and the look costs little."""
        try:
            return await self._tickets.redeem(text)
        except UnrecognizedClientException:
            self._note_guess(connection)
            raise

    def _note_guess(self, connection: HTTPConnection) -> None:
        """Count a failure. Raises: ClientLimitExceededException when the address has had its share already."""
        source, now = source_of(connection), self._monotonic()
        self.failures.check(source, now)
        self.failures.count(source, now)


def claimed_key(connection: HTTPConnection) -> dict[str, str]:
    """The access key id that a request names, whoever sent it, for the audit log; nothing where none looks like one."""
    texts = (*connection.headers.getlist("authorization"), *query.values(connection, "X-Amz-Credential"))
    found = next((match[1] for text in texts if (match := _CLAIM.search(text))), None)
    return {"access_key_id": found} if found else {}


def source_of(connection: HTTPConnection) -> str:
    """The address that a request comes from; empty where it has none."""
    client: tuple[str, int] | None = connection.scope.get("client")  # `connection.client` makes a tuple each time
    return client[0] if client else ""


def signs_body(connection: HTTPConnection) -> bool:
    """Whether the credential of a call can be verified only with its body."""
    return any(_scheme(value) == _SIGNATURE_SCHEME for value in connection.headers.getlist("authorization"))


def signed_request(connection: HTTPConnection) -> SignedRequest:
    """The request as it came over the wire, for whoever verifies its signature."""
    scope = connection.scope
    path = scope.get("raw_path") or scope["path"].encode("latin-1", "replace")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return SignedRequest(
        scope.get("method", "GET"), path.decode("latin-1"), scope["query_string"].decode("latin-1"), tuple(headers)
    )


def _collect(connection: HTTPConnection) -> _Credentials:
    """Return the one credential of a request. Raises: ServiceError when there is none, two, or one not served."""
    query.refuse_oversized(connection)
    found = _Credentials()
    _from_headers(connection, found)
    _from_query(connection, found)
    if found.count > 1:
        raise InvalidArgumentException("the request carries more than one credential: send one")
    if found.count == 0:
        raise MissingAuthenticationTokenException(
            "no credential: sign the request as AWS clients do, or send Authorization: Bearer and a token"
        )
    if found.foreign_schemes:
        raise UnrecognizedClientException(f"the Authorization header must be Bearer and a token, or {ALGORITHM}")
    return found


def _by_itself(grant: Grant) -> Grant:
    """Refuse a session token: it travels in the clear beside signatures, so it is worth nothing without one."""
    if grant.session_key_id is not None:
        raise UnrecognizedClientException("this token is of a session: sign with the keys that it came with")
    return grant


def _scheme(authorization: str) -> str:
    return authorization.strip().partition(" ")[0].lower()


def _from_headers(connection: HTTPConnection, found: _Credentials) -> None:
    for value in connection.headers.getlist("authorization"):
        scheme = _scheme(value)
        if scheme == "bearer":
            found.tokens.append(value.strip().partition(" ")[2].strip())
        elif scheme == _SIGNATURE_SCHEME:
            found.signed_headers += 1
        else:
            found.foreign_schemes += 1
    for name in _offered(connection):
        if name.lower().startswith(BEARER_SUBPROTOCOL):
            found.tokens.append(name[len(BEARER_SUBPROTOCOL) :])


def _from_query(connection: HTTPConnection, found: _Credentials) -> None:
    for name, value in query.parameters(connection):
        lower = name.lower()
        if lower in TOKEN_PARAMETERS:
            found.tokens.append(value)
        elif lower == TICKET_PARAMETER:
            found.tickets.append(value)
        elif lower in SIGNATURE_MARKS:
            found.signed_queries = 1


def _offered(connection: HTTPConnection) -> Sequence[str]:
    """The subprotocols that a websocket offers; a plain request has none."""
    offered: Sequence[str] = connection.scope.get("subprotocols", ())
    return offered
