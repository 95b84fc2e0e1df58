"""Claims become a grant: what allows something, what allows nothing, what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.auth import claims
from channels.auth.grant import Statement
from channels.errors import InvalidArgumentException, UnrecognizedClientException

GOOD: dict[str, Any] = {"iss": "i", "sub": "s", "aud": "a", "exp": 100}
DEFAULT = "000000000000"


def read(**changes: Any) -> claims.Claims:
    return claims.decode(json.dumps(GOOD | changes).encode())


def test_scope_and_channels_make_one_statement() -> None:
    made = claims.grant(read(scope="kvs:ConnectAsMaster kinesisvideo:Get* KVS:List*", channels=["p", "q"]), DEFAULT)
    actions = ("kinesisvideo:ConnectAsMaster", "kinesisvideo:Get*", "kinesisvideo:List*")
    assert made.statements == (Statement(actions, ("p", "q"), sid="token"),)
    assert (made.subject, made.account, made.expires_at) == ("s", DEFAULT, 100.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scope": "kvs:ConnectAsViewer"},
        {"channels": ["*"]},
        {"scope": "", "channels": ["*"]},
        {"scope": "  \t", "channels": ["*"]},
        {"scope": "openid email *", "channels": ["*"]},
        {"scope": "ConnectAsViewer", "channels": ["*"]},
        {"scope": "s3:GetObject", "channels": ["*"]},
        {"scope": "kvs:ConnectAsViewer", "channels": []},
    ],
)
def test_claims_without_both_an_action_and_a_channel_allow_nothing(changes: dict[str, Any]) -> None:
    assert claims.grant(read(**changes), DEFAULT).statements == ()


def test_account_client_id_and_token_id_are_taken_over() -> None:
    made = claims.grant(read(account="123456789012", cid="v-1", jti="t1"), DEFAULT)
    assert (made.account, made.client_id, made.token_id) == ("123456789012", "v-1", "t1")


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "12345678901"},
        {"account": "1234567890123"},
        {"account": "12345678901x"},
        {"account": 123456789012},
        {"cid": ""},
        {"cid": "a b"},
        {"cid": "aws_x"},
        {"cid": 7},
        {"sub": ""},
        {"sub": 7},
        {"scope": ["kvs:ConnectAsViewer"]},
        {"channels": "*"},
        {"channels": [1]},
        {"channels": {"*": "*"}},
        {"jti": 1},
        {"exp": -1},
        {"exp": 2**53 + 1},
        {"exp": 10**400},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_malformed_claim_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(UnrecognizedClientException) as refused:
        read(**changes)
    assert next(iter(changes)) in refused.value.message


def test_whatever_ends_a_session_is_in_its_grant() -> None:
    made = claims.grant(read(jti="ASIA1", key="AKIA1", parents=["t1", "t2"], skid="2026"), DEFAULT)
    assert made.credential_ids == ("ASIA1", "t1", "t2", "AKIA1")
    assert (made.key_id, made.session_key_id) == ("AKIA1", "2026")
    assert claims.grant(read(jti="t1"), DEFAULT).credential_ids == ("t1",)
    assert claims.grant(read(), DEFAULT).credential_ids == ()


@pytest.mark.parametrize("changes", [{"key": "AKIA1"}, {"parents": ["t1"]}, {"skid": "2026"}])
def test_a_session_that_cannot_be_revoked_by_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnrecognizedClientException, match="a session has a jti"):
        read(**changes)


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"{", b'"x"', b"\xff\xfe", b"[" * 7000, b'{"iss":NaN}'])
def test_payload_that_is_no_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(UnrecognizedClientException):
        claims.decode(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_claims_or_the_one_error(payload: bytes) -> None:
    try:
        claims.decode(payload)
    except UnrecognizedClientException:
        return


def test_encoded_claims_decode_to_themselves_and_leave_out_what_is_not_said() -> None:
    made = claims.Claims("i", "s", ["a", "b"], 9, cid="v")
    assert claims.decode(claims.encode(made)) == made
    assert json.loads(claims.encode(made)) == {"iss": "i", "sub": "s", "aud": ["a", "b"], "exp": 9, "cid": "v"}


def test_actions_get_the_short_prefix_unless_they_have_one() -> None:
    assert claims.scope(["ConnectAsViewer", "kvs:Get*", "kinesisvideo:*"]) == (
        "kvs:ConnectAsViewer kvs:Get* kinesisvideo:*"
    )


@pytest.mark.parametrize("action", ["", " ", "kvs:Get* kvs:*", "Get*\tkvs:*", "Get*\u2003*", "Get*\n"])
def test_an_action_that_would_be_read_as_more_is_refused(action: str) -> None:
    with pytest.raises(InvalidArgumentException, match="is no action: it holds a blank"):
        claims.scope(["Connect*", action])


def test_bare_name_means_every_incarnation_of_the_channel_in_the_account() -> None:
    assert claims.channel_pattern("demo", DEFAULT) == "arn:*:kinesisvideo:*:000000000000:channel/demo/*"


@pytest.mark.parametrize("pattern", ["*", "arn:aws:kinesisvideo:*:*:channel/a/1", "arn:*", "*/door/*", "doo?"])
def test_pattern_stays_as_it_is(pattern: str) -> None:
    assert claims.channel_pattern(pattern, DEFAULT) == pattern


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a:b", "ä", "x" * 257])
def test_text_that_is_neither_name_nor_pattern_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentException):
        claims.channel_pattern(text, DEFAULT)
