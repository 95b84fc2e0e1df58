"""A page token is opaque, in standard base64, and good for its own listing alone."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import page_token
from channels.errors import InvalidArgumentException

NAME = st.from_regex(r"[a-zA-Z0-9_.-]{1,256}", fullmatch=True)


@given(st.text(max_size=100), NAME)
def test_a_token_leads_back_to_its_name(listing: str, name: str) -> None:
    token = page_token.encode(listing, name)
    assert re.fullmatch(r"[a-zA-Z0-9+/=]{1,1024}", token)
    assert page_token.decode(listing, token) == name


@pytest.mark.slow
@given(NAME, st.data())
def test_a_changed_token_is_refused(name: str, data: st.DataObject) -> None:
    token = page_token.encode("listing", name)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from([c for c in "ABCabc019+/=" if c != token[at]]))
    with pytest.raises(InvalidArgumentException, match="NextToken"):
        page_token.decode("listing", token[:at] + other + token[at + 1 :])


@given(st.text(max_size=2000) | st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()))
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentException, match="NextToken"):
        page_token.decode("listing", text)


def test_a_token_of_another_listing_is_refused() -> None:
    with pytest.raises(InvalidArgumentException, match="NextToken"):
        page_token.decode("000000000000/us-west-2/b", page_token.encode("000000000000/us-west-2/a", "cam"))


def test_a_token_longer_than_any_of_ours_is_not_even_decoded() -> None:
    with pytest.raises(InvalidArgumentException, match="NextToken"):
        page_token.decode("listing", "A" * 1025)
