"""Names are right by construction: whatever is not a name is refused with one error."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import InvalidArgumentException
from channels.names import ChannelArn, Role, parse_channel_name, parse_client_id

NAME = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=256)
ARNS = st.builds(
    ChannelArn,
    partition=st.sampled_from(["aws", "aws-cn", "local"]),
    region=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    account=st.from_regex(r"[0-9]{12}", fullmatch=True),
    name=NAME,
    created_ms=st.integers(0, 10**19 - 1),
)


@given(ARNS)
def test_an_arn_survives_its_text(arn: ChannelArn) -> None:
    assert ChannelArn.parse(str(arn)) == arn


def test_two_readings_of_an_arn_share_their_text() -> None:
    text = "arn:aws:kinesisvideo:us-east-1:000000000000:channel/one/1600000000000"
    assert str(ChannelArn.parse(text)) is str(ChannelArn.parse(text))


@pytest.mark.parametrize(("role", "name"), [(Role.MASTER, "master"), (Role.VIEWER, "viewer")])
def test_a_role_is_counted_under_its_name_in_lower_case(role: Role, name: str) -> None:
    assert role.counted == name


@given(st.text(max_size=200))
def test_any_other_text_is_refused_as_an_arn(text: str) -> None:
    with pytest.raises(InvalidArgumentException, match="arn:aws:kinesisvideo"):
        ChannelArn.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000000\n",
        "arn:aws:kinesisvideo:us-west-2:00000000000:channel/demo/1700000000000",
        "arn:aws:kinesisvideo:us-west-2:000000000000:stream/demo/1700000000000",
        "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo",
        "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/01700000000000",
        "arn:aws:kinesisvideo:us-west-2:000000000000:channel/de mo/1700000000000",
        "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/١٢٣",
        "arn:aws:kinesisvideo:us-west-2:000000000000:channel/" + "a" * 257 + "/1",
        "arn:aws:kinesisvideo:" + "r" * 1000 + ":000000000000:channel/demo/1",
    ],
)
def test_a_malformed_arn_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentException):
        ChannelArn.parse(text)


@given(NAME)
def test_a_channel_name_is_kept_as_it_is(name: str) -> None:
    assert parse_channel_name(name) == name


@pytest.mark.parametrize("text", ["", "a" * 257, "a b", "a/b", "a:b", "demo\n", "é", "٣"])
def test_other_characters_and_lengths_are_no_names(text: str) -> None:
    with pytest.raises(InvalidArgumentException, match="ChannelName"):
        parse_channel_name(text)
    with pytest.raises(InvalidArgumentException, match="ClientId"):
        parse_client_id(text)


@pytest.mark.parametrize("text", ["AWS_", "aws_x", "Aws_viewer"])
def test_the_reserved_prefix_is_refused_in_any_case(text: str) -> None:
    with pytest.raises(InvalidArgumentException, match="reserved"):
        parse_client_id(text)


@pytest.mark.parametrize("text", ["ProducerMaster", "MASTER", "aws", "x-AWS_y", "a" * 256])
def test_client_ids_of_stock_clients_pass(text: str) -> None:
    assert parse_client_id(text) == text
