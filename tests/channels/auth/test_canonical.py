"""What is hashed of a request, held to the examples that AWS published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.auth import canonical
from channels.auth.canonical import EMPTY_HASH, SignedRequest, canonical_requests

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MOMENT = "20150830T123600Z"


def forms(path: str = "/", query: str = "", host: str = "h:1") -> list[str]:
    return list(canonical_requests(SignedRequest("GET", path, query, ()), (("host", host),), EMPTY_HASH))


def paths_and_queries(**given: str) -> list[tuple[str, str]]:
    return [(lines[1], lines[2]) for form in forms(**given) for lines in [form.split("\n")]]


def test_signing_key_is_that_of_the_published_example() -> None:
    key = canonical.signing_key(SECRET, "20150830", "us-east-1", "iam")
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


def test_request_of_the_published_iam_example_gets_its_published_signature() -> None:
    headers = (
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", MOMENT),
    )
    request = SignedRequest("GET", "/", "Action=ListUsers&Version=2010-05-08", ())
    form = next(canonical_requests(request, headers, EMPTY_HASH))
    assert canonical.hash_of(form.encode()) == "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    text = canonical.string_to_sign(MOMENT, "20150830/us-east-1/iam/aws4_request", form)
    signature = canonical.sign(canonical.signing_key(SECRET, "20150830", "us-east-1", "iam"), text)
    assert signature == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
    ids=["get-vanilla", "get-vanilla-query-order-key-case"],
)
def test_requests_of_the_published_test_suite_get_their_signatures(query: str, signature: str) -> None:
    headers = (("host", "example.amazonaws.com"), ("x-amz-date", MOMENT))
    form = next(canonical_requests(SignedRequest("GET", "/", query, ()), headers, EMPTY_HASH))
    text = canonical.string_to_sign(MOMENT, "20150830/us-east-1/service/aws4_request", form)
    key = canonical.signing_key(SECRET, "20150830", "us-east-1", "service")
    assert canonical.sign(key, text) == signature


def test_url_of_the_published_s3_example_gets_its_published_signature() -> None:
    scope = "20130524/us-east-1/s3/aws4_request"
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=no"
    )
    request = SignedRequest("GET", "/test.txt", query, ())
    form = next(canonical_requests(request, (("host", "examplebucket.s3.amazonaws.com"),), "UNSIGNED-PAYLOAD"))
    key = canonical.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
    signature = canonical.sign(key, canonical.string_to_sign("20130524T000000Z", scope, form))
    assert signature == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("localhost", ["localhost", "localhost:443"]),
        ("localhost:443", ["localhost:443", "localhost"]),
        ("localhost:8443", ["localhost:8443"]),
        ("[::1]", ["[::1]", "[::1]:443"]),
        ("[::1]:443", ["[::1]:443", "[::1]"]),
        ("[::1]:8443", ["[::1]:8443"]),
    ],
)
def test_host_is_tried_with_and_without_the_port_of_https(host: str, hosts: list[str]) -> None:
    assert [form.split("\n")[3].removeprefix("host:") for form in forms(host=host)] == hosts


@pytest.mark.parametrize(
    ("path", "tried"),
    [
        ("/viewer", ["/viewer"]),
        ("", ["/"]),
        ("//v1//x", ["//v1//x", "/v1/x"]),
        ("/a%20b", ["/a%20b", "/a%2520b"]),
        ("/\xe9", ["/\xe9", "/%E9"]),
    ],
)
def test_path_is_tried_as_received_then_folded_then_encoded_as_aws_does(path: str, tried: list[str]) -> None:
    assert [found for found, _ in paths_and_queries(path=path)] == tried


@pytest.mark.parametrize(
    ("query", "tried"),
    [
        ("b=2&a=1", ["a=1&b=2"]),
        ("a-b=1&a=1", ["a=1&a-b=1"]),
        ("a=2&a=1&X-Amz-Signature=0", ["a=1&a=2"]),
        ("a", ["a="]),
        ("a=arn:aws", ["a=arn:aws", "a=arn%3Aaws"]),
        ("a=%3a", ["a=%3a", "a=%3A"]),
        ("a=%41", ["a=%41", "a=A"]),
        ("a=x+y", ["a=x+y", "a=x%20y"]),
        ("a=%2B", ["a=%2B"]),
        ("a=%E9%FF", ["a=%E9%FF"]),
        ("a=\xe9", ["a=\xe9", "a=%E9"]),
        ("%58-Amz-Signature=0", ["%58-Amz-Signature=0", ""]),
        ("a==&&b", ["a==&b=", "a=%3D&b="]),
    ],
)
def test_query_is_sorted_and_tried_as_received_then_decoded_and_encoded(query: str, tried: list[str]) -> None:
    assert [found for _, found in paths_and_queries(query=query)] == tried


@pytest.mark.parametrize(
    ("given", "expected"),
    [("a", "a"), ("  a  b\t c ", "a b c"), ("", ""), (" ", ""), ("a\xa0\xa0b", "a\xa0\xa0b"), ("\ta", "a")],
)
def test_blanks_of_a_header_value_are_collapsed(given: str, expected: str) -> None:
    assert canonical.collapse(given) == expected


@given(st.text())
def test_decode_undoes_encode(text: str) -> None:
    assert canonical.decode(canonical.encode(text)) == text


def test_signed_request_shows_no_query_and_no_headers() -> None:
    shown = repr(SignedRequest("GET", "/viewer", "token=secret", (("authorization", "secret"),)))
    assert "secret" not in shown
