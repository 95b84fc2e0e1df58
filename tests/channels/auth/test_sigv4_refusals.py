"""Signatures out of their time or scope, incomplete, doubled or changed by a byte are refused."""

import string
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode

import pytest

from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from channels.errors import (
    IncompleteSignatureException,
    InvalidArgumentException,
    InvalidSignatureException,
    ServiceError,
)
from tests import signer
from tests.channels.auth.signed import (
    BODY,
    JAVASCRIPT_HEADERS,
    NOW,
    SOCKET,
    call,
    replaced,
    socket,
    verify,
    with_headers,
    with_query,
)

# Time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (299, None),
        (300, None),
        (301, "Signature expired"),
        (-299, None),
        (-300, None),
        (-301, "Signature not yet current"),
        (86_400, "Signature expired"),
        (-86_400, "Signature not yet current"),
    ],
)
@pytest.mark.parametrize("kind", ["header", "299", "604800"])
def test_signature_is_good_for_five_minutes_either_way(seconds: int, words: str | None, kind: str) -> None:
    request, body = (call(), BODY) if kind == "header" else (socket(expires_s=int(kind)), b"")
    if kind == "299" and seconds == 300:
        words = "Signature expired"
    if words is None:
        assert verify(request, body, NOW + seconds)
    else:
        with pytest.raises(InvalidSignatureException, match=words):
            verify(request, body, NOW + seconds)


def test_query_ends_when_it_asked_to() -> None:
    request = socket(expires_s=10)
    assert verify(request, now=NOW + 10)
    with pytest.raises(InvalidSignatureException, match="Signature expired: 20231114T221320Z is now earlier than"):
        verify(request, now=NOW + 11)


# Scope


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"service": "s3"}, "correct service: 'kinesisvideo'"),
        ({"service": "kinesis"}, "correct service"),
        ({"region": "eu-west-1"}, "valid region: one of us-west-2"),
    ],
)
def test_scope_of_another_service_or_region_is_refused(options: dict[str, str], words: str) -> None:
    for request in (call(**options), socket(**options)):
        with pytest.raises(InvalidSignatureException, match=words):
            sigv4.check_scope(sigv4.parse(request), ["us-west-2"])


def test_any_region_is_taken_where_none_is_configured() -> None:
    sigv4.check_scope(sigv4.parse(call(region="eu-west-1")))


def test_scope_of_another_day_is_refused() -> None:
    request = replaced(call(), "authorization", lambda value: value.replace("/20231114/", "/20231113/"))
    with pytest.raises(InvalidSignatureException, match="20231113 is not of 20231114T221320Z"):
        verify(request, BODY)


# Payload


def test_body_must_be_the_signed_one() -> None:
    assert not verify(call(), BODY + b" ")
    assert not verify(call(), b"")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (canonical.EMPTY_HASH, "does not match"),
        ("", "does not match"),
        ("UNSIGNED-PAYLOAD", "sign the body"),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "sign the body"),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "sign the body"),
    ],
)
def test_hash_header_must_be_that_of_the_body(value: str, words: str) -> None:
    request = call(headers={"x-amz-content-sha256": value} if value else None)
    if not value:
        request = with_headers(request, ("x-amz-content-sha256", ""))
    with pytest.raises(InvalidSignatureException, match=words):
        verify(request, BODY)


# What is missing, malformed or there twice


def authorization(change: Callable[[str], str]) -> SignedRequest:
    return replaced(call(), "authorization", change)


def parameter(name: str, value: str | None) -> SignedRequest:
    request = socket()
    kept = [(key, text) for key, text in parse_qsl(request.query) if key != name]
    return with_query(request, urlencode(kept + ([(name, value)] if value is not None else []), quote_via=quote))


def without(name: str) -> SignedRequest:
    request = call()
    headers = tuple(pair for pair in request.headers if pair[0] != name)
    return SignedRequest(request.method, request.path, request.query, headers)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (without("authorization"), "not signed"),
        (without("x-amz-date"), "one x-amz-date header; this one has 0"),
        (without("host"), "SignedHeaders names 'host', which"),
        (call(only=["x-amz-date"]), "must include 'host'"),
        (with_headers(call(), ("x-amz-date", "20231114T221320Z")), "one x-amz-date header; this one has 2"),
        (with_headers(call(), ("host", "evil")), "more than one host header"),
        (with_headers(call(), ("x-amz-security-token", "a"), ("x-amz-security-token", "b")), "one session token"),
        (authorization(lambda text: text.replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256-X ")), "must begin with"),
        (authorization(lambda text: text + ", Signature=" + "0" * 64), "each once"),
        (authorization(lambda text: text + ", Extra=1"), "each once"),
        (authorization(lambda text: text.replace("Signature=", "Signatur=")), "each once"),
        (authorization(lambda text: text.partition(", Signature")[0]), "requires 'Signature'"),
        (authorization(lambda _: "AWS4-HMAC-SHA256"), "each once"),
        (authorization(lambda text: text[:-1]), "64 lower-case"),
        (authorization(lambda text: text[:-1] + "A"), "64 lower-case"),
        (authorization(lambda text: text[:-1] + "\xb2"), "64 lower-case"),
        (authorization(lambda text: text.replace("host;", "host;host;")), "twice"),
        (authorization(lambda text: text.replace("host;", "Host;")), "names 'Host'"),
        (authorization(lambda text: text.replace("host;", "host;x-none;")), "names 'x-none'"),
        (authorization(lambda text: text.replace("/aws4_request", "/aws3_request")), "Credential must be"),
        (authorization(lambda text: text.replace("/aws4_request", "")), "Credential must be"),
        (authorization(lambda text: text.replace(signer.KEY_ID, "")), "access key id"),
        (authorization(lambda text: text.replace(signer.KEY_ID, "A" * 129)), "access key id"),
        (authorization(lambda text: text.replace("/20231114/", "/2023111/")), "date in Credential"),
        (authorization(lambda text: text.replace("us-west-2", "us west")), "region in Credential"),
        (parameter("X-Amz-Algorithm", None), "must include 'X-Amz-Algorithm'"),
        (parameter("X-Amz-Algorithm", "AWS4-HMAC-SHA1"), "must be AWS4-HMAC-SHA256"),
        (parameter("X-Amz-Algorithm", "none"), "must be AWS4-HMAC-SHA256"),
        (parameter("X-Amz-Credential", None), "must include 'X-Amz-Credential'"),
        (parameter("X-Amz-Date", None), "must include 'X-Amz-Date'"),
        (parameter("X-Amz-Date", "2023-11-14T22:13:20Z"), "20060102T150405Z"),
        (parameter("X-Amz-Date", "20231314T221320Z"), "20060102T150405Z"),
        (parameter("X-Amz-Date", "00000114T221320Z"), "20060102T150405Z"),
        (parameter("X-Amz-Expires", None), "must include 'X-Amz-Expires'"),
        (parameter("X-Amz-Expires", "0"), "from 1 to 604800"),
        (parameter("X-Amz-Expires", "604801"), "from 1 to 604800"),
        (parameter("X-Amz-Expires", "-1"), "from 1 to 604800"),
        (parameter("X-Amz-Expires", "1e3"), "from 1 to 604800"),
        (parameter("X-Amz-Expires", "9" * 5000), "from 1 to 604800"),
        (parameter("X-Amz-Expires", "\u0663"), "from 1 to 604800"),
        (parameter("X-Amz-SignedHeaders", None), "must include 'X-Amz-SignedHeaders'"),
        (parameter("X-Amz-SignedHeaders", "x-amz-date"), "names 'x-amz-date'"),
        (parameter("X-Amz-Signature", None), "must include 'X-Amz-Signature'"),
        (with_headers(parameter("X-Amz-Security-Token", "a"), ("x-amz-security-token", "b")), "one session token"),
    ],
)
def test_incomplete_signature_is_refused_by_name(request_: SignedRequest, words: str) -> None:
    with pytest.raises(IncompleteSignatureException, match=words):
        sigv4.parse(request_)


@pytest.mark.parametrize(
    "name",
    ["X-Amz-Date", "x-amz-date", "X-Amz-Signature", "X-Amz-ChannelARN", "X-AMZ-CLIENTID", "X%2DAmz%2DExpires"],
)
def test_doubled_parameter_is_refused(name: str) -> None:
    request = socket()
    with pytest.raises(IncompleteSignatureException, match="more than once"):
        sigv4.parse(with_query(request, f"{request.query}&{name}=x"))


def test_request_signed_in_both_forms_is_refused() -> None:
    both = SignedRequest("GET", "/viewer", socket().query, call().headers)
    twice = with_headers(call(), ("authorization", "AWS4-HMAC-SHA256 x"))
    for request in (both, twice):
        with pytest.raises(InvalidArgumentException, match="more than one credential"):
            sigv4.parse(request)


# What was changed on the way


def mutations(text: str) -> list[str]:
    """The text with each character replaced in turn, by one of its own kind where that says more."""
    changed = []
    for position, character in enumerate(text):
        other = "1" if character == "0" else "0" if character in string.hexdigits else "!"
        changed.append(text[:position] + other + text[position + 1 :])
    return changed


def refused(request: SignedRequest, body: bytes) -> bool:
    try:
        return not verify(request, body)
    except ServiceError:
        return True


def test_each_changed_byte_of_a_call_makes_it_fail() -> None:
    good = call(headers=JAVASCRIPT_HEADERS, who=signer.credentials(token="token"))
    assert verify(good, BODY)
    changed = [SignedRequest(text, good.path, good.query, good.headers) for text in mutations(good.method)]
    changed += [SignedRequest(good.method, text, good.query, good.headers) for text in mutations(good.path)]
    for name, value in good.headers:
        if name == "authorization":  # of another access key another secret would be asked
            value = value.partition("/")[2]
        for text in mutations(value):
            changed.append(replaced(good, name, lambda old, new=text, part=value: old.replace(part, new)))  # type: ignore[misc]  # bound above
    assert all(refused(request, BODY) for request in changed)
    assert all(refused(good, text.encode()) for text in mutations(BODY.decode()))


def test_each_changed_byte_of_a_websocket_url_makes_it_fail() -> None:
    good = socket(who=signer.credentials(token="token"))
    assert verify(good)
    key_at = good.query.index(signer.KEY_ID)
    for position, text in enumerate(mutations(good.query)):
        if not key_at <= position < key_at + len(signer.KEY_ID):
            assert refused(with_query(good, text), b""), text
    assert all(refused(SignedRequest("GET", text, good.query, good.headers), b"") for text in mutations(good.path))
    assert all(refused(replaced(good, "host", lambda _, new=text: new), b"") for text in mutations("localhost:8443"))  # type: ignore[misc]  # bound above


@pytest.mark.parametrize("query", ["a=1", "X-Amz-Meta=1", "&x", "x=%20"])
def test_added_parameter_makes_it_fail(query: str) -> None:
    request = socket()
    assert not verify(with_query(request, f"{request.query}&{query}"))


def test_plus_is_not_taken_for_an_encoded_plus() -> None:
    request = socket(SOCKET + "&note=a%2Bb")
    assert verify(request)
    assert not verify(with_query(request, request.query.replace("a%2Bb", "a+b")))


def test_another_secret_does_not_match() -> None:
    key = canonical.signing_key(signer.SECRET + "x", "20231114", signer.REGION)
    assert not verify(call(), BODY, key=key)
