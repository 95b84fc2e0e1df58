"""Which credential a request carries, and what becomes of it."""

import math
from collections.abc import Callable, Iterable
from typing import Self
from urllib.parse import urlencode

import pytest
from starlette.requests import HTTPConnection

from app.authenticate import (
    Authenticator,
    SocketCredential,
    authorise,
    authorise_connect,
    claimed_key,
    signed_request,
    signs_body,
)
from channels.auth import token
from channels.auth.canonical import SignedRequest
from channels.auth.failures import Failures
from channels.auth.grant import Grant, Statement
from channels.auth.session import SessionRequest, Sessions
from channels.auth.signature import SignatureVerifier
from channels.auth.ticket import Ticket, Tickets
from channels.auth.token import TokenSettings, TokenVerifier
from channels.errors import (
    AccessDeniedException,
    ClientLimitExceededException,
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidArgumentException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    NotAuthorizedException,
    ServiceError,
    UnrecognizedClientException,
)
from channels.names import ChannelArn, Role
from tests import signer

NOW = 1_700_000_000.0
KEY = token.secret_key("k", b"k" * 32)
SETTINGS = TokenSettings()
ARN = ChannelArn("aws", "us-west-2", "000000000000", "door", 1)
OTHER = ChannelArn("aws", "us-west-2", "000000000000", "gate", 1)
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=AKIA/20231114/us-west-2/kinesisvideo/aws4_request, SignedHeaders=host, Signature=0"
)


def jwt(now: float = NOW, subject: str = "alice", client_id: str | None = None) -> str:
    return token.mint(
        KEY,
        SETTINGS,
        subject=subject,
        actions=["ConnectAsViewer"],
        channels=["door"],
        client_id=client_id,
        now_wall=now,
        lifetime_s=60,
    )


class Clock:
    """Wall and monotonic time, moved by hand."""

    def __init__(self) -> None:
        self.wall = NOW
        self.monotonic = 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets() -> Tickets:
    return Tickets()


class Keys:
    """A ring of one key."""

    def __init__(self) -> None:
        self.on_removed: list[Callable[[str], None]] = []
        self.secret = signer.SECRET

    def find(self, access_key_id: str) -> Self | None:
        return self if access_key_id == signer.KEY_ID else None

    def grant(self) -> Grant:
        return Grant(f"key/{signer.KEY_ID}", "000000000000", (), math.inf)

    def secret_of(self, grant: Grant) -> str | None:
        return None


@pytest.fixture
def authenticator(clock: Clock, tickets: Tickets) -> Authenticator:
    verifier = TokenVerifier((KEY,), SETTINGS)
    keys = Keys()
    return Authenticator(
        verifier,
        tickets,
        lambda: clock.wall,
        lambda: clock.monotonic,
        Failures(rate=1.0, burst=3.0),
        SignatureVerifier(keys, keys, verifier),
    )


def connection(
    query: Iterable[tuple[str, str]] = (),
    authorization: Iterable[str] = (),
    offered: Iterable[str] = (),
    source: str | None = "192.0.2.1",
) -> HTTPConnection:
    scope = {
        "type": "websocket",
        "path": "/viewer",
        "headers": [(b"authorization", value.encode()) for value in authorization],
        "query_string": urlencode(list(query)).encode(),
        "client": (source, 1) if source else None,
        "subprotocols": list(offered),
    }
    return HTTPConnection(scope)


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
def test_socket_takes_a_token_in_each_way_and_never_echoes_it(
    authenticator: Authenticator, given: HTTPConnection, subprotocol: str | None
) -> None:
    credential = authenticator.socket(given)
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
def test_socket_with_two_credentials_is_refused(authenticator: Authenticator, given: HTTPConnection) -> None:
    with pytest.raises(InvalidArgumentException, match="more than one credential"):
        authenticator.socket(given)


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
def test_socket_without_a_good_credential_is_refused_by_name(
    authenticator: Authenticator, given: HTTPConnection, error: type[ServiceError]
) -> None:
    with pytest.raises(error):
        authenticator.socket(given)


def test_ticket_opens_one_socket(authenticator: Authenticator, tickets: Tickets) -> None:
    ticket = Ticket(grant(), ARN, Role.VIEWER, "v-1")
    given = connection(query=[("ticket", tickets.issue(ticket, 0.0))], offered=["kvs-signaling"])
    assert authenticator.socket(given) == SocketCredential(ticket.grant, ticket, "kvs-signaling")
    with pytest.raises(UnrecognizedClientException):
        authenticator.socket(given)


def test_ticket_ends_by_the_monotonic_clock(authenticator: Authenticator, tickets: Tickets, clock: Clock) -> None:
    text = tickets.issue(Ticket(grant(), ARN, Role.VIEWER, "v-1"), 0.0)
    clock.monotonic = 30.0
    with pytest.raises(UnrecognizedClientException, match="expired"):
        authenticator.socket(connection(query=[("ticket", text)]))


# AWS signatures

CALL = "http://127.0.0.1:8080/describeSignalingChannel"
SOCKET = f"wss://localhost/viewer?{urlencode({'X-Amz-ChannelARN': str(ARN)})}"


def over_the_wire(request: SignedRequest, source: str = "192.0.2.1") -> HTTPConnection:
    return HTTPConnection(
        {
            "type": "http",
            "method": request.method,
            "path": "/",
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
            "client": (source, 1),
            "subprotocols": ["kvs-signaling"],
        }
    )


def signed(body: bytes = b"{}", secret: str = signer.SECRET, now: float = NOW) -> HTTPConnection:
    return over_the_wire(signer.header_signed(CALL, body, now, signer.credentials(secret=secret)))


def presigned(secret: str = signer.SECRET, now: float = NOW) -> HTTPConnection:
    url = signer.query_signed(SOCKET, now, signer.credentials(secret=secret))
    return over_the_wire(signer.received("GET", url))


def test_request_is_handed_on_as_it_came_over_the_wire() -> None:
    request = SignedRequest("POST", "//a%20b\xe9", "x=%41&y=\xe9", (("host", "h"), ("x-note", "a  \xe9"), ("x", "")))
    assert signed_request(over_the_wire(request)) == request


def test_the_key_that_a_request_names_is_told_and_nothing_that_is_none() -> None:
    assert claimed_key(signed()) == claimed_key(presigned()) == {"access_key_id": signer.KEY_ID}
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert claimed_key(connection(authorization=[SIGNATURE.replace("AKIA", secret)])) == {}
    assert claimed_key(connection(query=[("X-Amz-Credential", secret)])) == {}
    assert claimed_key(connection(authorization=[f"Bearer {jwt()}"])) == {}


def test_call_is_made_with_a_signature_of_its_body(authenticator: Authenticator) -> None:
    assert signs_body(signed())
    assert authenticator.request(signed(), b"{}").subject == f"key/{signer.KEY_ID}"
    with pytest.raises(InvalidSignatureException):
        authenticator.request(signed(), b"{ }")
    assert not signs_body(connection(authorization=[f"Bearer {jwt()}"]))
    assert not signs_body(presigned())


@pytest.mark.parametrize(
    "form", [presigned, lambda: over_the_wire(signer.header_signed(SOCKET, b"", NOW, method="GET"))]
)
def test_socket_takes_a_signature_in_either_form(
    authenticator: Authenticator, form: Callable[[], HTTPConnection]
) -> None:
    credential = authenticator.socket(form())
    assert (credential.grant.subject, credential.subprotocol) == (f"key/{signer.KEY_ID}", "kvs-signaling")
    assert credential.ticket is None


def test_presigned_url_makes_no_call(authenticator: Authenticator) -> None:
    with pytest.raises(MissingAuthenticationTokenException, match="in the header"):
        authenticator.request(presigned())


def test_guessed_signatures_are_counted_and_a_good_one_is_heard_all_the_same(authenticator: Authenticator) -> None:
    for _ in range(3):
        with pytest.raises(InvalidSignatureException):
            authenticator.socket(presigned("wrong"))
    for guess in (lambda: authenticator.socket(presigned("wrong")), lambda: authenticator.request(signed(), b"")):
        with pytest.raises(ClientLimitExceededException):
            guess()
    assert authenticator.request(signed(), b"{}")
    assert authenticator.socket(presigned())
    assert authenticator.failures.stats.failures == 3


def test_session_token_opens_nothing_without_a_signature(authenticator: Authenticator) -> None:
    """It travels beside signatures, with the C SDK in an unsigned header: whoever saw one request would have it."""
    request = SessionRequest("s", "000000000000", ("*",), ("*",), 60)
    text = Sessions([KEY], KEY, SETTINGS).mint(request, NOW).session_token
    for _ in range(2):  # known or not
        for attempt in (
            lambda: authenticator.request(connection(authorization=[f"Bearer {text}"])),
            lambda: authenticator.socket(connection(query=[("token", text)])),
        ):
            with pytest.raises(UnrecognizedClientException, match="of a session: sign with"):
                attempt()
    assert authenticator.failures.stats.failures == 0


def test_session_token_that_is_new_here_is_not_heard_from_a_source_full_of_failures(
    authenticator: Authenticator,
) -> None:
    """To verify one costs as much as to verify a token that comes by itself."""
    known, new = jwt(subject="known"), jwt(subject="new")
    authenticator.request(connection(authorization=[f"Bearer {known}"]))
    for _ in range(3):
        with pytest.raises(InvalidSignatureException):
            authenticator.socket(presigned("wrong"))

    def refused(token: str) -> ServiceError:
        who = signer.credentials(token=token)
        given = over_the_wire(signer.received("GET", signer.query_signed(SOCKET, NOW, who)))
        with pytest.raises(ServiceError) as caught:
            authenticator.socket(given)
        assert authenticator.failures.stats.refused == 1 + (token == known)
        return caught.value

    before = authenticator.verifier.stats.verified
    assert isinstance(refused(new), ClientLimitExceededException)
    assert isinstance(refused(known), ClientLimitExceededException)  # heard, and not of this key: a guess
    assert authenticator.verifier.stats.verified == before


def test_signature_that_is_late_or_incomplete_is_no_guess(authenticator: Authenticator) -> None:
    for _ in range(5):
        with pytest.raises(InvalidSignatureException, match="Signature expired"):
            authenticator.request(signed(now=NOW - 301), b"{}")
        with pytest.raises(IncompleteSignatureException):
            authenticator.request(connection(authorization=[SIGNATURE]))
    assert authenticator.failures.stats.failures == 0


def test_signatures_are_refused_by_name_where_there_are_no_keys(tickets: Tickets) -> None:
    without = Authenticator(TokenVerifier((KEY,), SETTINGS), tickets, lambda: NOW, lambda: 0.0)
    with pytest.raises(UnrecognizedClientException, match="not served here"):
        without.request(signed(), b"{}")


# Failures


def bad(source: str | None = "192.0.2.1") -> HTTPConnection:
    return connection(authorization=["Bearer nonsense"], source=source)


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


def test_bad_tickets_count_too(authenticator: Authenticator) -> None:
    for _ in range(3):
        with pytest.raises(UnrecognizedClientException):
            authenticator.socket(connection(query=[("ticket", "x")]))
    with pytest.raises(ClientLimitExceededException):
        authenticator.socket(connection(query=[("ticket", "x")]))


def test_known_token_and_good_ticket_are_heard_from_a_source_full_of_failures(
    authenticator: Authenticator, tickets: Tickets
) -> None:
    good = jwt()
    authenticator.request(connection(authorization=[f"Bearer {good}"]))
    for _ in range(3):
        with pytest.raises(UnrecognizedClientException):
            authenticator.request(bad())
    assert authenticator.request(connection(authorization=[f"Bearer {good}"]))
    text = tickets.issue(Ticket(grant(), ARN, Role.VIEWER, "v-1"), 0.0)
    assert authenticator.socket(connection(query=[("ticket", text)]))
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


# Authorisation


def grant(action: str = "*", resource: str = "*", client_id: str | None = None) -> Grant:
    statement = Statement((f"kinesisvideo:{action}",), (resource,))
    return Grant("alice", "000000000000", (statement,), 9e9, client_id)


def test_authorise_raises_the_error_it_is_told_with_the_reason() -> None:
    authorise(grant(), "GetIceServerConfig", str(ARN))
    with pytest.raises(AccessDeniedException, match="alice may not kinesisvideo:GetIceServerConfig"):
        authorise(grant("Connect*"), "GetIceServerConfig", str(ARN))
    with pytest.raises(NotAuthorizedException):
        authorise(grant("Connect*"), "GetIceServerConfig", str(ARN), error=NotAuthorizedException)


VIEWER, MASTER = Role.VIEWER, Role.MASTER
TICKET = Ticket(grant(), ARN, VIEWER, "v-1")


@pytest.mark.parametrize(
    ("given", "ticket", "role", "client_id", "is_allowed"),
    [
        (grant("ConnectAsViewer"), None, VIEWER, "v-1", True),
        (grant("ConnectAsViewer"), None, MASTER, "", False),
        (grant("ConnectAsMaster"), None, MASTER, "", True),
        (grant("ConnectAsMaster"), None, VIEWER, "v-1", False),
        (grant("ConnectAsViewer", str(OTHER)), None, VIEWER, "v-1", False),
        (grant(client_id="v-1"), None, VIEWER, "v-1", True),
        (grant(client_id="v-1"), None, VIEWER, "v-2", False),
        (grant(client_id="v-1"), None, MASTER, "", True),
        (grant(), TICKET, VIEWER, "v-1", True),
        (grant(), TICKET, VIEWER, "v-2", False),
        (grant(), TICKET, MASTER, "", False),
        (grant("GetIceServerConfig"), TICKET, VIEWER, "v-1", False),
        (grant(client_id="v-2"), TICKET, VIEWER, "v-1", False),
    ],
)
def test_connect_is_decided_by_action_ticket_and_client_id(
    given: Grant, ticket: Ticket | None, role: Role, client_id: str, is_allowed: bool
) -> None:
    if is_allowed:
        authorise_connect(given, ticket, ARN, role, client_id)
        return
    with pytest.raises(AccessDeniedException):
        authorise_connect(given, ticket, ARN, role, client_id)


def test_ticket_does_not_open_another_channel() -> None:
    with pytest.raises(AccessDeniedException, match="another channel, role or client id"):
        authorise_connect(grant(), TICKET, OTHER, VIEWER, "v-1")
