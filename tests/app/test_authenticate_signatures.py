"""Requests that are signed: which pass, and which are refused as what."""

from collections.abc import Callable

import pytest
from starlette.requests import HTTPConnection

from app.authenticate import Authenticator, claimed_key, signed_request, signs_body
from channels.auth.canonical import SignedRequest
from channels.auth.grant import Grant
from channels.auth.session import SessionRequest, Sessions
from channels.auth.signature import SignatureVerifier
from channels.auth.token import TokenVerifier
from channels.embedded.tickets import EmbeddedTickets
from channels.errors import (
    ClientLimitExceededException,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    ServiceError,
    UnrecognizedClientException,
)
from tests import signer
from tests.app.door import (
    KEY,
    NOW,
    SETTINGS,
    SIGNATURE,
    SOCKET,
    Keys,
    connection,
    jwt,
    over_the_wire,
    presigned,
    signed,
)


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
async def test_socket_takes_a_signature_in_either_form(
    authenticator: Authenticator, form: Callable[[], HTTPConnection]
) -> None:
    credential = await authenticator.socket(form())
    assert (credential.grant.subject, credential.subprotocol) == (f"key/{signer.KEY_ID}", "kvs-signaling")
    assert credential.ticket is None


def test_presigned_url_makes_no_call(authenticator: Authenticator) -> None:
    with pytest.raises(MissingAuthenticationTokenException, match="in the header"):
        authenticator.request(presigned())


async def test_guessed_signatures_are_counted_and_a_good_one_is_heard_all_the_same(
    authenticator: Authenticator,
) -> None:
    for _ in range(3):
        with pytest.raises(InvalidSignatureException):
            await authenticator.socket(presigned("wrong"))
    with pytest.raises(ClientLimitExceededException):
        await authenticator.socket(presigned("wrong"))
    with pytest.raises(ClientLimitExceededException):
        authenticator.request(signed(), b"")
    assert authenticator.request(signed(), b"{}")
    assert await authenticator.socket(presigned())
    assert authenticator.failures.stats.failures == 3


async def test_session_token_opens_nothing_without_a_signature(authenticator: Authenticator) -> None:
    """It travels beside signatures, with the C SDK in an unsigned header: whoever saw one request would have it."""
    request = SessionRequest("s", "000000000000", ("*",), ("*",), 60)
    text = Sessions([KEY], KEY, SETTINGS).mint(request, NOW).session_token
    for _ in range(2):  # known or not
        with pytest.raises(UnrecognizedClientException, match="of a session: sign with"):
            authenticator.request(connection(authorization=[f"Bearer {text}"]))
        with pytest.raises(UnrecognizedClientException, match="of a session: sign with"):
            await authenticator.socket(connection(query=[("token", text)]))
    assert authenticator.failures.stats.failures == 0


async def test_session_token_that_is_new_here_is_not_heard_from_a_source_full_of_failures(
    authenticator: Authenticator,
) -> None:
    """To verify one costs as much as to verify a token that comes by itself."""
    known, new = jwt(subject="known"), jwt(subject="new")
    authenticator.request(connection(authorization=[f"Bearer {known}"]))
    for _ in range(3):
        with pytest.raises(InvalidSignatureException):
            await authenticator.socket(presigned("wrong"))

    async def refused(token: str) -> ServiceError:
        who = signer.credentials(token=token)
        given = over_the_wire(signer.received("GET", signer.query_signed(SOCKET, NOW, who)))
        with pytest.raises(ServiceError) as caught:
            await authenticator.socket(given)
        assert authenticator.failures.stats.refused == 1 + (token == known)
        return caught.value

    before = authenticator.verifier.stats.verified
    assert isinstance(await refused(new), ClientLimitExceededException)
    assert isinstance(await refused(known), ClientLimitExceededException)  # heard, and not of this key: a guess
    assert authenticator.verifier.stats.verified == before


async def test_session_token_is_read_once_a_connect() -> None:
    read: list[Grant] = []

    def admit(grant: Grant) -> Grant:
        read.append(grant)
        return grant

    verifier, sessions = TokenVerifier((KEY,), SETTINGS, admit=admit), Sessions([KEY], KEY, SETTINGS)
    made = sessions.mint(SessionRequest("s", "000000000000", ("*",), ("*",), 60), NOW)
    who = signer.credentials(made.access_key_id, made.secret_access_key, made.session_token)
    signatures = SignatureVerifier(Keys(), sessions, verifier)
    door = Authenticator(verifier, EmbeddedTickets(), lambda: NOW, lambda: 0.0, signatures=signatures)
    for times in (1, 2):
        given = over_the_wire(signer.received("GET", signer.query_signed(SOCKET, NOW, who)))
        assert (await door.socket(given)).grant.token_id == made.access_key_id
        assert len(read) == times


def test_signature_that_is_late_or_incomplete_is_no_guess(authenticator: Authenticator) -> None:
    for _ in range(5):
        with pytest.raises(InvalidSignatureException, match="Signature expired"):
            authenticator.request(signed(now=NOW - 301), b"{}")
        with pytest.raises(IncompleteSignatureException):
            authenticator.request(connection(authorization=[SIGNATURE]))
    assert authenticator.failures.stats.failures == 0


def test_signatures_are_refused_by_name_where_there_are_no_keys() -> None:
    without = Authenticator(TokenVerifier((KEY,), SETTINGS), EmbeddedTickets(), lambda: NOW, lambda: 0.0)
    with pytest.raises(UnrecognizedClientException, match="not served here"):
        without.request(signed(), b"{}")
