"""Signatures of requests as each client makes them, with botocore as the signer that knows nothing of ours."""

from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from channels.auth.sigv4 import Credentials, Signature
from channels.errors import IncompleteSignatureException, InvalidArgumentException
from tests import signer
from tests.channels.auth.signed import (
    BODY,
    JAVASCRIPT_HEADERS,
    NOW,
    SOCKET,
    call,
    socket,
    verify,
    with_headers,
    with_query,
)


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
