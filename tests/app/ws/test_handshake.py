import pytest

from app.ws import handshake
from app.ws.handshake import Opening

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # that of RFC 6455, 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = [
    (b"host", b"localhost"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-version", b"13"),
]


def changed(name: bytes, value: bytes | None) -> list[tuple[bytes, bytes]]:
    """The headers with another value of one, or without it."""
    others = [header for header in HEADERS if header[0] != name]
    return others if value is None else [*others, (name, value)]


def test_a_good_head_is_answered_with_the_proof_of_its_key() -> None:
    opening = handshake.read(b"/viewer?x=y", HEADERS)
    assert opening == Opening(ACCEPT, ())


def test_subprotocols_keep_the_client_s_order() -> None:
    offers = [(b"sec-websocket-protocol", b"kvs-signaling ,\tbearer.eyJ.x-_"), (b"sec-websocket-protocol", b"wss")]
    opening = handshake.read(b"/", [*HEADERS, *offers])
    assert opening is not None
    assert opening.subprotocols == ("kvs-signaling", "bearer.eyJ.x-_", "wss")


@pytest.mark.parametrize(
    "headers",
    [
        changed(b"sec-websocket-key", None),
        changed(b"sec-websocket-key", b"c2hvcnQ="),
        changed(b"sec-websocket-key", b"!" * 24),
        changed(b"sec-websocket-version", None),
        changed(b"sec-websocket-version", b"8"),
        [*HEADERS, (b"sec-websocket-key", KEY)],
        [*HEADERS, (b"sec-websocket-version", b"13")],
        [*HEADERS, (b"upgrade", b"h2c")],
        [*HEADERS, (b"origin", b"https://a"), (b"origin", b"https://b")],
        [*HEADERS, (b"sec-websocket-protocol", b"a,,b")],
        [*HEADERS, (b"sec-websocket-protocol", b"")],
        [*HEADERS, (b"cookie", b"x" * 8001)],
        [*HEADERS, (b"content-length", b"5")],
        [*HEADERS, (b"transfer-encoding", b"chunked")],
        HEADERS + [(b"x", b"y")] * 100,
    ],
)
def test_any_other_head_is_no_opening(headers: list[tuple[bytes, bytes]]) -> None:
    assert handshake.read(b"/", headers) is None


@pytest.mark.parametrize("url", [b"/" + b"x" * 8000, b"/\xc3\xa9"])
def test_a_url_that_is_too_long_or_not_ascii_is_no_opening(url: bytes) -> None:
    assert handshake.read(url, HEADERS) is None


def test_the_answer_carries_headers_and_the_subprotocol_chosen() -> None:
    answer = handshake.switch(Opening(ACCEPT, ("a", "b")), [(b"date", b"today"), (b"x-id", b"7")], "b")
    assert answer.decode().split("\r\n") == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {ACCEPT.decode()}",
        "date: today",
        "x-id: 7",
        "Sec-WebSocket-Protocol: b",
        "",
        "",
    ]
    assert b"Sec-WebSocket-Protocol" not in handshake.switch(Opening(ACCEPT, ()), (), None)
