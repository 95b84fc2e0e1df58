import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn_check.uri import TurnUri, UriError, Way


@pytest.mark.parametrize(
    ("text", "uri", "ways"),
    [
        ("turn:example.org", TurnUri("turn", "example.org", 3478), (Way.UDP, Way.TCP)),
        ("turn:192.0.2.7:443?transport=udp", TurnUri("turn", "192.0.2.7", 443, "udp"), (Way.UDP,)),
        ("TURN:example.org?Transport=TCP", TurnUri("turn", "example.org", 3478, "tcp"), (Way.TCP,)),
        ("turns:[2001:db8::7]:443", TurnUri("turns", "2001:db8::7", 443), (Way.TLS, Way.DTLS)),
        ("turns:example.org?transport=udp", TurnUri("turns", "example.org", 5349, "udp"), (Way.DTLS,)),
        ("turns:example.org?transport=tcp", TurnUri("turns", "example.org", 5349, "tcp"), (Way.TLS,)),
        ("stun:example.org", TurnUri("stun", "example.org", 3478), (Way.UDP,)),
        ("stuns:example.org", TurnUri("stuns", "example.org", 5349), (Way.TLS, Way.DTLS)),
    ],
)
def test_a_uri_says_where_and_by_which_ways(text: str, uri: TurnUri, ways: tuple[Way, ...]) -> None:
    assert TurnUri.parse(text) == uri
    assert uri.ways == ways
    assert TurnUri.parse(str(uri)) == uri
    assert uri.is_relay is text.lower().startswith("turn")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("turn://example.org", "leave out the slashes, turn:example.org"),
        ("turn:2001:db8::7", "stands in brackets"),
        ("turn:[::g]", "one looks like"),
        ("turn:[::1::2]:1", "no IPv6 address"),
        ("turn:example.org:0", "a port is a number from 1 to 65535"),
        ("turn:example.org:70000", "a port is a number from 1 to 65535"),
        ("example.org:3478", "one looks like turn:relay.example.org"),
        ("turn:example.org?transport=sctp", "one looks like"),
        ("turn:a b", "one looks like"),
    ],
)
def test_a_text_that_is_no_uri_says_what_one_looks_like(text: str, hint: str) -> None:
    with pytest.raises(UriError, match=r"is no|a port") as caught:
        TurnUri.parse(text)
    assert hint in str(caught.value)


@given(st.text())
def test_any_text_is_a_uri_or_the_one_error(text: str) -> None:
    for prefix in ("", "turn:", "stuns:["):
        try:
            TurnUri.parse(prefix + text)
        except UriError:
            continue


def test_a_way_knows_its_transport() -> None:
    assert [way.is_stream for way in Way] == [False, True, True, False]
    assert [way.is_secure for way in Way] == [False, False, True, True]
