"""Whose signature it is: keys, sessions, and those that are neither."""

import re
from collections.abc import Callable

import pytest

from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from channels.auth.grant import Grant
from channels.auth.signature import SignatureVerifier
from channels.errors import (
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidArgumentException,
    InvalidSignatureException,
    ServiceError,
    UnrecognizedClientException,
)
from tests import signer

NOW = 1_700_000_000.0
DAY_S = 86_400.0
URL = "http://127.0.0.1:8080/describeSignalingChannel"
BODY = b"{}"
SESSION_ID, SESSION_SECRET = "ASIAIOSFODNN7EXAMPLE", "a secret that was derived"


def grant(subject: str, token_id: str | None = None) -> Grant:
    return Grant(subject, "000000000000", (), 9e9, token_id=token_id)


class Key:
    def __init__(self, key_id: str, secret: str) -> None:
        self.id = key_id
        self.secret = secret

    def grant(self) -> Grant:
        return grant(self.id)


class Keys:
    """A ring that notes what it is asked."""

    def __init__(self) -> None:
        self.on_removed: list[Callable[[str], None]] = []
        self.keys = {signer.KEY_ID: Key(signer.KEY_ID, signer.SECRET)}
        self.misses = 0

    def find(self, access_key_id: str) -> Key | None:
        found = self.keys.get(access_key_id)
        self.misses += found is None
        return found


class Sessions:
    def secret_of(self, grant: Grant) -> str | None:
        return SESSION_SECRET if grant.token_id in (SESSION_ID, "ASIAOTHER") else None


class Tokens:
    def verify(self, token: str, now_wall: float, unless_known: Callable[[], None] | None = None) -> Grant:
        if token == "old":
            raise ExpiredTokenException("the token has expired: get a new one")
        if not token.startswith("of "):
            raise UnrecognizedClientException("the token is not a JSON Web Token")
        return grant("session", token.removeprefix("of "))


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def verifier(keys: Keys) -> SignatureVerifier:
    return SignatureVerifier(keys, Sessions(), Tokens(), ["us-west-2", "eu-west-1"])


def call(
    key_id: str = signer.KEY_ID, secret: str = signer.SECRET, token: str | None = None, now: float = NOW, **options: str
) -> SignedRequest:
    who = signer.credentials(key_id, secret, token)
    return signer.header_signed(URL, BODY, now, who, **options)  # type: ignore[arg-type]  # as the caller names them


def test_signature_of_a_key_is_heard_as_its_bearer(verifier: SignatureVerifier) -> None:
    assert verifier.verify(call(), BODY, NOW).subject == signer.KEY_ID
    url = signer.query_signed("wss://h/master", NOW)
    assert verifier.verify(signer.received("GET", url), b"", NOW).subject == signer.KEY_ID
    assert verifier.stats.verified == 2


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_session_is_heard_by_its_token(verifier: SignatureVerifier, is_signed: bool) -> None:
    token = f"of {SESSION_ID}"
    request = call(SESSION_ID, SESSION_SECRET, token if is_signed else None)
    if not is_signed:  # as the C SDK sends it
        request = SignedRequest(
            request.method, request.path, request.query, (*request.headers, ("x-amz-security-token", token))
        )
    assert verifier.verify(request, BODY, NOW).subject == "session"
    assert (verifier.stats.sessions, verifier.stats.verified) == (1, 1)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (call(secret="wrong"), InvalidSignatureException, "does not match"),
        (call("AKIAUNKNOWN"), UnrecognizedClientException, "AKIAUNKNOWN is not known here"),
        (call("sEcReTinItsPlace"), UnrecognizedClientException, "^the access key id is not known here"),
        (call(SESSION_ID, SESSION_SECRET), UnrecognizedClientException, "needs its session token"),
        (call(SESSION_ID, "wrong", f"of {SESSION_ID}"), InvalidSignatureException, "does not match"),
        (call(SESSION_ID, SESSION_SECRET, "of ASIAOTHER"), UnrecognizedClientException, "does not belong"),
        (call(SESSION_ID, SESSION_SECRET, "of nothing"), UnrecognizedClientException, "does not belong"),
        (call(signer.KEY_ID, signer.SECRET, f"of {SESSION_ID}"), UnrecognizedClientException, "does not belong"),
        (call("AKIANOSESSION", "x", "of AKIANOSESSION"), UnrecognizedClientException, "does not belong"),
        (call(SESSION_ID, SESSION_SECRET, "old"), ExpiredTokenException, "expired"),
        (call(SESSION_ID, SESSION_SECRET, "nonsense"), UnrecognizedClientException, "not a JSON Web Token"),
        (call(region="us-east-1"), InvalidSignatureException, "valid region"),
        (call(service="s3"), InvalidSignatureException, "correct service"),
        (call(now=NOW - 301), InvalidSignatureException, "Signature expired"),
        (call(now=NOW + 301), InvalidSignatureException, "Signature not yet current"),
        (SignedRequest("GET", "/", "", ()), IncompleteSignatureException, "not signed"),
    ],
)
def test_others_are_refused_by_name(
    verifier: SignatureVerifier, request_: SignedRequest, error: type[ServiceError], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        verifier.verify(request_, BODY, NOW)
    assert signer.SECRET not in str(refused.value)
    assert refused.value.status == 403
    assert verifier.verify(call(), BODY, NOW)


@pytest.mark.parametrize(
    ("path", "query"),
    [("/" + "x" * 8192, ""), ("/", "a" * 8192), ("/", "a&" * 100)],
    ids=["path", "query", "parameters"],
)
def test_what_no_client_sends_is_refused_before_it_costs(verifier: SignatureVerifier, path: str, query: str) -> None:
    request = SignedRequest("POST", path, query, call().headers)
    with pytest.raises(InvalidArgumentException, match="path and query must not be over 8192 characters"):
        verifier.verify(request, BODY, NOW)
    shorter = SignedRequest("POST", path[:8192], query[2:], request.headers)
    with pytest.raises(InvalidSignatureException):
        verifier.verify(shorter, BODY, NOW)
    assert (verifier.stats.refused, verifier.stats.wrong) == (1, 1)


def test_refusal_says_what_was_verified_and_nothing_secret(verifier: SignatureVerifier) -> None:
    request = call(SESSION_ID, "wrong", f"of {SESSION_ID}")
    with pytest.raises(InvalidSignatureException) as refused:
        verifier.verify(request, BODY, NOW)
    text = refused.value.message
    names = "host;x-amz-date;x-amz-security-token"
    assert f"POST /describeSignalingChannel, host 127.0.0.1:8080, signed headers {names}" in text
    assert refused.value.canonical_hashes[0] in text
    assert len(text) < 1024
    claimed = sigv4.parse(request)
    form = next(canonical.canonical_requests(request, claimed.headers, canonical.hash_of(BODY)))
    assert canonical.hash_of(form.encode()) == refused.value.canonical_hashes[0]
    assert claimed.signature not in text
    expected = canonical.sign(
        canonical.signing_key(SESSION_SECRET, claimed.date, claimed.region),
        canonical.string_to_sign(claimed.amz_date, claimed.scope, form),
    )
    assert not {expected, SESSION_SECRET} & set(re.split(r"[\s,.]", text))


def test_wrong_signature_asks_the_ring_as_often_for_nothing_as_an_unknown_key(
    verifier: SignatureVerifier, keys: Keys
) -> None:
    for request in (call("AKIAUNKNOWN"), call(secret="wrong")):
        before = (keys.misses, verifier.stats.derived)
        with pytest.raises(ServiceError):
            verifier.verify(request, BODY, NOW)
        assert (keys.misses, verifier.stats.derived) == (before[0] + 1, before[1] + 1)
    assert (verifier.stats.unknown, verifier.stats.wrong, verifier.stats.refused) == (1, 1, 0)


def test_signing_key_is_derived_once_for_each_day_and_region(verifier: SignatureVerifier) -> None:
    for _ in range(3):
        verifier.verify(call(), BODY, NOW)
    assert verifier.stats.derived == 1
    verifier.verify(call(region="eu-west-1"), BODY, NOW)
    verifier.verify(call(now=NOW + DAY_S), BODY, NOW + DAY_S)
    assert verifier.stats.derived == len(verifier) == 3


def test_signing_keys_are_forgotten_for_want_of_room_the_least_used_first(keys: Keys) -> None:
    verifier = SignatureVerifier(keys, Sessions(), Tokens(), cache_entries=2)
    for region in ("a", "b", "a", "c", "a"):
        verifier.verify(call(region=region), BODY, NOW)
    assert (len(verifier), verifier.stats.derived, verifier.stats.evicted) == (2, 3, 1)


def test_removed_key_is_forgotten_with_its_signing_keys(verifier: SignatureVerifier, keys: Keys) -> None:
    verifier.verify(call(), BODY, NOW)
    verifier.verify(call(SESSION_ID, SESSION_SECRET, f"of {SESSION_ID}"), BODY, NOW)
    for tell in keys.on_removed:
        tell(signer.KEY_ID)
    assert len(verifier) == 1
    keys.keys[signer.KEY_ID] = Key(signer.KEY_ID, "another")
    assert verifier.verify(call(secret="another"), BODY, NOW)
    with pytest.raises(InvalidSignatureException):
        verifier.verify(call(), BODY, NOW)


def test_unknown_id_never_matches_even_with_the_secret_of_nobody(verifier: SignatureVerifier) -> None:
    with pytest.raises(UnrecognizedClientException):
        verifier.verify(call("AKIAUNKNOWN", "this is the secret of no key at all!"), BODY, NOW)
