"""Signatures of requests, with botocore as the signer that knows nothing of ours."""

import string
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from channels.auth.sigv4 import Credentials, Signature
from channels.errors import (
    IncompleteSignatureException,
    InvalidArgumentException,
    InvalidSignatureException,
    ServiceError,
)
from tests import signer

NOW = 1_700_000_000.0  # 20231114T221320Z
KEY = canonical.signing_key(signer.SECRET, "20231114", signer.REGION)
BODY = b'{"ChannelName":"door"}'
CALL = "http://127.0.0.1:8080/describeSignalingChannel"
ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/door/1700000000000"
SOCKET = f"wss://localhost:8443/viewer?{urlencode({'X-Amz-ChannelARN': ARN, 'X-Amz-ClientId': 'v-1'})}"


def verify(request: SignedRequest, body: bytes = b"", now: float = NOW, key: bytes = KEY) -> bool:
    signature = sigv4.parse(request)
    sigv4.check_scope(signature, [signer.REGION])
    sigv4.check_time(signature, now)
    return sigv4.matches(signature, request, key, sigv4.payload_hash(request, body))


def call(**options: object) -> SignedRequest:
    return signer.header_signed(CALL, BODY, NOW, **options)  # type: ignore[arg-type]  # as the caller names them


def socket(url: str = SOCKET, now: float = NOW, host: str | None = None, **options: object) -> SignedRequest:
    signed = signer.query_signed(url, now, **options)  # type: ignore[arg-type]  # as above
    return signer.received("GET", signed, host=host)


def with_headers(request: SignedRequest, *headers: tuple[str, str]) -> SignedRequest:
    return SignedRequest(request.method, request.path, request.query, (*request.headers, *headers))


def with_query(request: SignedRequest, query: str) -> SignedRequest:
    return SignedRequest(request.method, request.path, query, request.headers)


def replaced(request: SignedRequest, name: str, change: Callable[[str], str]) -> SignedRequest:
    headers = tuple((key, change(value) if key == name else value) for key, value in request.headers)
    return SignedRequest(request.method, request.path, request.query, headers)


# Each client's form

JAVASCRIPT_HEADERS = {
    "amz-sdk-invocation-id": "e0a5c2f4-9d43-4b0a-a3c7-0a1b2c3d4e5f",
    "amz-sdk-request": "attempt=1; max=3",
    "content-length": str(len(BODY)),
    "content-type": "application/json",
    "x-amz-content-sha256": canonical.hash_of(BODY),
    "x-amz-user-agent": "aws-sdk-js/3.940.0",
}


@pytest.mark.parametrize("token", [None, "eyJhbGciOiJIUzI1NiJ9.e30.c2ln+/="])
def test_boto3_call_is_verified(token: str | None) -> None:
    request = call(who=signer.credentials(token=token), headers={"Content-Type": "application/json"})
    signature = sigv4.parse(request)
    names = "content-type;host;x-amz-date" + (";x-amz-security-token" if token else "")
    assert (signature.signed_headers, signature.session_token) == (names, token)
    assert verify(request, BODY)


@pytest.mark.parametrize("token", [None, "token"])
def test_javascript_v3_call_is_verified(token: str | None) -> None:
    request = call(who=signer.credentials(token=token), headers=JAVASCRIPT_HEADERS)
    assert len(sigv4.parse(request).headers) == 8 + (token is not None)
    assert verify(request, BODY)


def test_c_sdk_call_with_its_unsigned_session_token_is_verified() -> None:
    request = call(headers={"user-agent": "AWS-SDK-KVS/3.2.0 GCC/13"}, only=["host", "user-agent", "x-amz-date"])
    request = with_headers(request, ("content-type", "application/json"), ("x-amz-security-token", "token"))
    signature = sigv4.parse(request)
    assert (signature.signed_headers, signature.session_token) == ("host;user-agent;x-amz-date", "token")
    assert verify(request, BODY)


@pytest.mark.parametrize("token", [None, "a/b+c=="])
@pytest.mark.parametrize("expires_s", [299, 604_800])
def test_presigned_websocket_is_verified(token: str | None, expires_s: int) -> None:
    request = socket(expires_s=expires_s, who=signer.credentials(token=token))
    signature = sigv4.parse(request)
    assert (signature.session_token, signature.expires_s, signature.signed_headers) == (token, expires_s, "host")
    assert verify(request)


def test_javascript_signer_sorts_its_parameters_and_signs_the_port_that_it_does_not_send() -> None:
    signed = signer.query_signed(SOCKET.replace("localhost:8443", "localhost:443"), NOW)
    parameters = sorted(parse_qsl(urlsplit(signed).query))
    query = "&".join(f"{name}={quote(value, safe='~')}" for name, value in parameters)
    assert verify(SignedRequest("GET", "/viewer", query, (("host", "localhost"),)))


@pytest.mark.parametrize(
    ("signed", "sent", "is_good"),
    [
        ("localhost", "localhost", True),
        ("localhost:443", "localhost", True),
        ("localhost", "localhost:443", True),
        ("localhost:8443", "localhost:8443", True),
        ("localhost:8443", "localhost", False),
        ("localhost", "localhost:8443", False),
        ("localhost:443", "localhost:444", False),
        ("localhost", "other", False),
        ("[::1]:443", "[::1]", True),
    ],
)
def test_host_is_the_signed_one_but_for_the_port_of_https(signed: str, sent: str, is_good: bool) -> None:
    assert verify(socket(SOCKET.replace("localhost:8443", signed), host=sent)) is is_good


def test_parameters_verify_in_any_order() -> None:
    request = socket()
    parts = request.query.split("&")
    assert verify(with_query(request, "&".join(reversed(parts))))


def test_doubled_slashes_verify_as_sent_and_as_signed_without_them() -> None:
    assert verify(signer.header_signed("http://h/v1/x", BODY, NOW), BODY)
    sent = signer.header_signed("http://h//v1/x", BODY, NOW)  # botocore signs /v1/x and sends //v1/x
    assert sent.path == "//v1/x"
    assert verify(sent, BODY)


def test_header_form_opens_a_websocket_too() -> None:
    assert verify(signer.header_signed(SOCKET, b"", NOW, method="GET"))


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


def test_signed_requests_are_told_from_others() -> None:
    assert sigv4.is_signed(call())
    assert sigv4.is_signed(socket())
    assert sigv4.is_signed(SignedRequest("GET", "/", "x-amz-credential", ()))
    assert not sigv4.is_signed(SignedRequest("GET", "/", "X-Amz-ChannelARN=a", (("authorization", "Bearer x"),)))


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


# Any request

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)
_HEADER = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "), max_size=30)


@given(path=st.lists(st.text(min_size=1, max_size=8), max_size=4), value=_HEADER, body=st.binary(max_size=50))
def test_any_path_header_and_body_that_botocore_signs_is_verified(path: list[str], value: str, body: bytes) -> None:
    assume(not {".", ".."} & set(path))
    url = "http://h:1/" + "/".join(quote(part, safe="") for part in path)
    assert verify(signer.header_signed(url, body, NOW, headers={"x-note": value}), body)


@given(st.lists(st.tuples(_TEXT, _TEXT), max_size=5))
def test_any_query_that_botocore_signs_is_verified(parameters: list[tuple[str, str]]) -> None:
    assume(not any(name.lower().startswith("x-amz-") or not name for name, _ in parameters))
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters)
    request = signer.header_signed("http://h:1/x?" + query, b"", NOW)
    assert verify(request)
    lower = with_query(request, query.replace("%C3", "%c3"))
    assert verify(lower)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_parsed_or_refused(value: str, query: str, date: str) -> None:
    texts = (value, "AWS4-HMAC-SHA256 " + value, "AWS4-HMAC-SHA256 Credential=" + value)
    for text in texts:
        request = SignedRequest("GET", "/", query, (("authorization", text), ("x-amz-date", date), ("host", "h")))
        try:
            sigv4.parse(request)
        except (IncompleteSignatureException, InvalidArgumentException):
            continue
        raise AssertionError("nothing here is signed")


# Our own signer


@pytest.mark.parametrize("token", ["", "eyJ0.e30.c2ln+/="])
@pytest.mark.parametrize("host", ["localhost", "localhost:8443", "[::1]:8080"])
def test_own_call_is_the_one_that_botocore_would_sign(token: str, host: str) -> None:
    who = Credentials(signer.KEY_ID, signer.SECRET, token)
    plain = SignedRequest("POST", "/x", "", (("host", host), ("content-type", "application/json")))
    added = sigv4.sign(plain, BODY, who, signer.REGION, NOW)
    theirs = signer.header_signed(
        f"http://{host}/x", BODY, NOW, signer.credentials(token=token or None), {"content-type": "application/json"}
    )
    assert added["authorization"] == dict(theirs.headers)["authorization"]
    assert verify(with_headers(plain, *added.items()), BODY)


@pytest.mark.parametrize("token", ["", "eyJ0.e30.c2ln+/="])
@pytest.mark.parametrize("host", ["localhost", "localhost:443", "localhost:8443", "[::1]:8443"])
def test_own_url_is_the_one_that_botocore_would_sign(token: str, host: str) -> None:
    url = SOCKET.replace("localhost:8443", host)
    signed = sigv4.presign(url, Credentials(signer.KEY_ID, signer.SECRET, token), signer.REGION, NOW)
    theirs = signer.query_signed(url.replace(":443/", "/"), NOW, signer.credentials(token=token or None))
    assert dict(parse_qsl(urlsplit(signed).query)) == dict(parse_qsl(urlsplit(theirs).query))
    assert verify(signer.received("GET", signed, host=sigv4.host_of(url)))


def test_own_url_without_a_path_gets_one() -> None:
    assert sigv4.presign("wss://h", Credentials("a", "b"), "r", NOW).startswith("wss://h/?X-Amz-Algorithm=")


def test_nothing_secret_is_shown() -> None:
    request = socket(who=signer.credentials(token="token"))
    signature = sigv4.parse(request)
    shown = repr(Credentials("id", "hidden", "hidden")) + repr(signature) + repr(request)
    assert "hidden" not in shown
    assert "token" not in shown
    assert signature.signature not in shown


def test_hashes_name_every_form_that_was_tried() -> None:
    request = socket(host="localhost")
    hashes = sigv4.canonical_hashes(sigv4.parse(request), request, canonical.EMPTY_HASH)
    assert len(set(hashes)) == 2
    assert isinstance(sigv4.parse(request), Signature)
