"""Triples: small enough for devices, derived again from their token alone, never more than was asked for."""

import base64
import hashlib
import hmac
import re

import msgspec
import pytest

from channels.auth import token
from channels.auth.grant import Statement, decide
from channels.auth.session import SessionRequest, Sessions
from channels.auth.token import TokenSettings, TokenVerifier
from channels.errors import InvalidArgumentException

ACCOUNT = "123456789012"
ARN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000000"
SETTINGS = TokenSettings()
SIGNING = token.new_es256_key()
OLD, NEW = token.secret_key("2026-01", b"o" * 32), token.secret_key("2026-02", b"n" * 32)
REQUEST = SessionRequest("cam-7", ACCOUNT, ("ConnectAsMaster",), ("door",), 3600.0)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions([OLD, NEW], SIGNING, SETTINGS)


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier([SIGNING], SETTINGS)


def changed(**changes: object) -> SessionRequest:
    return msgspec.structs.replace(REQUEST, **changes)


def test_a_triple_has_the_form_that_devices_take(sessions: Sessions) -> None:
    made = sessions.mint(REQUEST, 1000.0)
    assert re.fullmatch("ASIA[A-Z2-7]{16}", made.access_key_id)
    assert len(made.secret_access_key) == 44
    assert len(made.session_token) < 700
    assert made.expires_at == 4600


def test_the_secret_is_derived_from_the_id_with_the_newest_key(sessions: Sessions) -> None:
    made = sessions.mint(REQUEST, 1000.0)
    digest = hmac.new(b"n" * 32, b"sts" + made.access_key_id.encode(), hashlib.sha256).digest()
    assert made.secret_access_key == base64.b64encode(digest).decode()


def test_whoever_verifies_the_token_makes_the_secret_again(sessions: Sessions, verifier: TokenVerifier) -> None:
    made = sessions.mint(REQUEST, 1000.0)
    grant = verifier.verify(made.session_token, 1001.0)
    assert grant.token_id == made.access_key_id
    assert sessions.secret_of(grant) == made.secret_access_key
    assert sessions.stats.derived == 1


def test_a_secret_outlives_the_rotation_of_its_key_and_ends_with_it(verifier: TokenVerifier) -> None:
    made = Sessions([OLD], SIGNING, SETTINGS).mint(REQUEST, 1000.0)
    grant = verifier.verify(made.session_token, 1001.0)
    assert Sessions([OLD, NEW], SIGNING, SETTINGS).secret_of(grant) == made.secret_access_key
    rotated = Sessions([NEW], SIGNING, SETTINGS)
    assert rotated.secret_of(grant) is None
    assert rotated.stats.unknown_key == 1


def test_a_plain_token_is_no_session(sessions: Sessions, verifier: TokenVerifier) -> None:
    text = token.mint(SIGNING, SETTINGS, subject="s", actions=["*"], channels=["*"], now_wall=0.0, lifetime_s=60.0)
    assert sessions.secret_of(verifier.verify(text, 1.0)) is None


def test_a_session_may_do_what_was_asked_for(sessions: Sessions, verifier: TokenVerifier) -> None:
    made = sessions.mint(changed(client_id="v-1"), 1000.0)
    grant = verifier.verify(made.session_token, 1001.0)
    assert (grant.subject, grant.account, grant.client_id) == ("cam-7", ACCOUNT, "v-1")
    assert grant.statements == (
        Statement(("kinesisvideo:ConnectAsMaster",), (f"arn:*:kinesisvideo:*:{ACCOUNT}:channel/door/*",), sid="token"),
    )
    assert decide(grant, "ConnectAsMaster", ARN).is_allowed
    assert not decide(grant, "ConnectAsViewer", ARN).is_allowed


def test_a_session_names_all_it_came_from(sessions: Sessions, verifier: TokenVerifier) -> None:
    made = sessions.mint(changed(key_id="AKIA1", parents=("t1", "t2")), 1000.0)
    grant = verifier.verify(made.session_token, 1001.0)
    assert grant.credential_ids == (made.access_key_id, "t1", "t2", "AKIA1")
    assert (grant.key_id, grant.session_key_id) == ("AKIA1", "2026-02")


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"channels": tuple(f"front-door-{number}" for number in range(40))}, "channels"),
        ({"actions": tuple(f"ConnectAsViewer{number}" for number in range(100))}, "scope"),
        ({"subject": "s" * 2000}, "sub"),
        ({"parents": tuple("p" * 20 for _ in range(90))}, "parents"),
    ],
)
def test_a_token_that_devices_would_not_take_is_refused_by_its_longest_claim(
    sessions: Sessions, changes: dict[str, object], claim: str
) -> None:
    with pytest.raises(InvalidArgumentException, match=f"over 2048: the claim {claim} is too long"):
        sessions.mint(changed(**changes), 1000.0)
    assert sessions.stats.refused == 1


def test_2048_characters_are_taken_and_one_more_is_not(sessions: Sessions) -> None:
    lengths = {}
    for size in range(900, 1400):
        try:
            lengths[size] = len(sessions.mint(changed(subject="s" * size), 1000.0).session_token)
        except InvalidArgumentException as refused:
            assert "would be 2049 characters" in refused.message  # noqa: PT017  # the first that is refused
            break
    assert max(lengths.values()) == 2048


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, 43201.0, float("inf"), float("nan")])
def test_a_life_past_twelve_hours_is_refused(sessions: Sessions, lifetime_s: float) -> None:
    with pytest.raises(InvalidArgumentException, match="43200 s at most"):
        sessions.mint(changed(lifetime_s=lifetime_s), 1000.0)


@pytest.mark.parametrize(
    ("changes", "sentence"), [({"client_id": "AWS_1"}, "ClientId"), ({"channels": ("a b",)}, "Ch")]
)
def test_names_are_held(sessions: Sessions, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidArgumentException, match=sentence):
        sessions.mint(changed(**changes), 1000.0)


def test_no_secret_shows(sessions: Sessions) -> None:
    made = sessions.mint(REQUEST, 1000.0)
    assert made.secret_access_key not in repr(made)
    assert made.session_token not in repr(made)


def test_keys_that_change_make_new_sessions_and_end_those_of_keys_that_are_gone(verifier: TokenVerifier) -> None:
    sessions = Sessions([OLD], SIGNING, SETTINGS)
    before = sessions.mint(REQUEST, 1000.0)
    grant = verifier.verify(before.session_token, 1001.0)
    sessions.replace_keys([OLD, NEW], SIGNING)
    assert sessions.secret_of(grant) == before.secret_access_key
    other = token.new_es256_key()
    sessions.replace_keys([NEW], other)
    assert sessions.secret_of(grant) is None
    after = sessions.mint(REQUEST, 1000.0)
    found = TokenVerifier([other], SETTINGS).verify(after.session_token, 1001.0)
    assert sessions.secret_of(found) == after.secret_access_key
