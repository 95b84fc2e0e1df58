import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection

from app import query
from channels.errors import InvalidArgumentException


def request(text: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "query_string": text.encode("latin-1"), "headers": []})


def test_parameters_keep_their_order_and_their_repetition() -> None:
    connection = request("b=1&a=%C3%A9+x&b=&c&&b=2%26")
    assert query.parameters(connection) == [("b", "1"), ("a", "é x"), ("b", ""), ("c", ""), ("b", "2&")]
    assert query.values(connection, "b") == ["1", "", "2&"]
    assert query.values(connection, "d") == []


def test_a_query_is_read_once() -> None:
    connection = request("a=1")
    assert query.parameters(connection) is query.parameters(HTTPConnection(connection.scope))


@given(st.text("a=&%2Ff+;C3A9 \x7f", max_size=14))
def test_a_query_is_read_as_everybody_reads_it(text: str) -> None:
    assert query.parameters(request(text)) == QueryParams(text).multi_items()


@pytest.mark.parametrize("text", ["a=" + "b" * 8191, "&" * 100], ids=["long", "many"])
def test_a_query_that_no_client_has_is_refused_unread(text: str) -> None:
    query.refuse_oversized(request(text[1:]))
    with pytest.raises(InvalidArgumentException, match="path and query must not be over 8192 characters"):
        query.refuse_oversized(request(text))
    assert query.parameters(request(text + "&c=1")) == []
