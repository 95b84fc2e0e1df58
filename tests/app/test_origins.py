"""Which pages may open a websocket."""

import pytest
from starlette.requests import HTTPConnection

from app.origins import Origins
from channels.errors import AccessDeniedException

TICKET, TOKEN = "ticket=x", "token=x"


def connection(query: str, host: str, *origins: str, cookie: str | None = None) -> HTTPConnection:
    headers = [(b"host", host.encode()), *((b"origin", origin.encode()) for origin in origins)]
    if cookie is not None:
        headers.append((b"cookie", cookie.encode()))
    return HTTPConnection({"type": "websocket", "path": "/", "headers": headers, "query_string": query.encode()})


def is_let_in(origins: Origins, given: HTTPConnection) -> bool:
    try:
        origins.check(given)
    except AccessDeniedException as error:
        return "allowed_origins" not in error.message
    return True


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:8080", "http://localhost:8080", True),
        ("localhost:8080", "http://LOCALHOST:8080", True),
        ("localhost:8080", "http://localhost:8081", False),
        ("localhost:8080", "http://localhost", False),
        ("kvs.example.org", "https://kvs.example.org", True),
        ("kvs.example.org:443", "https://kvs.example.org", True),
        ("kvs.example.org", "https://kvs.example.org:443", True),
        ("kvs.example.org", "https://evil.example.org", False),
        ("kvs.example.org", "https://kvs.example.org.evil.org", False),
        ("10.0.0.1:8443", "https://pages.example.org:8443", True),
        ("10.0.0.1", "https://pages.example.org:8443", True),
        ("10.0.0.1", "https://pages.example.org", False),
        ("10.0.0.1:8443", "http://10.0.0.1:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("localhost:8080", "null", False),
        ("localhost:8080", "", False),
        ("localhost:8080", "http://[", False),
        ("localhost:8080", "http://localhost:x", False),
        ("", "http://", False),
        ("[", "http://localhost", False),
    ],
)
def test_pages_of_this_service_connect_and_others_do_not(host: str, origin: str, expected: bool) -> None:
    ports = (8080,) if host == "10.0.0.1:8443" else ()
    origins = Origins(public_host="pages.example.org:8443", ports=lambda: ports)
    assert is_let_in(origins, connection(TICKET, host, origin)) is expected


def test_pages_of_the_other_processes_connect() -> None:
    origins = Origins(hosts=lambda: ("k2.test:8443", "k3.test"))
    for origin, expected in (
        ("https://k2.test:8443", True),
        ("https://k3.test", True),
        ("https://k3.test:8443", False),
        ("https://k4.test", False),
    ):
        assert is_let_in(origins, connection(TICKET, "k1.test", origin)) is expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://kvs.example.org", True),
        ("https://v-1.kvs.example.org", True),
        ("https://v-1.kvs.example.org:8443", True),
        ("https://v-1.kvs.example.org:8444", False),
        ("https://evilkvs.example.org", False),
        ("https://example.org", False),
    ],
)
def test_pages_under_the_wildcard_name_connect(origin: str, expected: bool) -> None:
    origins = Origins(wildcard="kvs.example.org", ports=lambda: (8443,))
    assert is_let_in(origins, connection(TICKET, "m-1.kvs.example.org", origin)) is expected


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (("https://app.example.org",), "https://app.example.org", True),
        (("https://app.example.org/",), "https://APP.example.org", True),
        (("https://app.example.org",), "http://app.example.org", False),
        (("https://a", "https://app.example.org"), "https://app.example.org", True),
        (("*",), "https://anything", True),
        (("*",), "null", True),
        (("null",), "null", True),
        ((), "https://app.example.org", False),
    ],
)
def test_listed_origins_connect(allowed: tuple[str, ...], origin: str, expected: bool) -> None:
    assert is_let_in(Origins(allowed), connection(TICKET, "h", origin)) is expected


def test_only_tickets_and_cookies_are_bound_to_an_origin() -> None:
    origins, evil = Origins(), "https://evil.example.org"
    assert is_let_in(origins, connection(TOKEN, "h", evil))
    assert is_let_in(origins, connection("", "h", evil))
    assert not is_let_in(origins, connection("", "h", evil, cookie="a=b"))
    assert not is_let_in(origins, connection("", "h", evil, cookie=""))
    assert not is_let_in(origins, connection("TICKET=x", "h", evil))
    assert is_let_in(origins, connection(TICKET, "h"))
    assert is_let_in(origins, connection(TICKET, "h", cookie="a=b"))


@pytest.mark.parametrize("query", ["token=x", "X-Kvs-Token=x", "X-Amz-Credential=x&X-Amz-Signature=x"])
def test_what_the_page_must_know_counts_also_beside_a_cookie(query: str) -> None:
    evil = "https://evil.example.org"
    assert is_let_in(Origins(), connection(query, "h", evil, cookie="a=b"))
    assert not is_let_in(Origins(), connection(f"{query}&ticket=x", "h", evil, cookie="a=b"))
    given = connection("", "h", evil, cookie="a=b")
    given.scope["subprotocols"] = ["kvs-signaling", "bearer.x"]
    assert is_let_in(Origins(), given)


def test_each_of_several_origins_must_be_allowed() -> None:
    assert not is_let_in(Origins(), connection(TICKET, "h", "https://h", "https://evil.example.org"))
