"""TURN credentials: the shape of KVS, keys that fit what was minted, and one digest per channel for every form."""

import base64
import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import ice
from channels.names import ChannelArn

ARN = ChannelArn("aws", "us-west-2", "000000000000", "demo", 1700000000000)
NAME = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=256)
CLIENT = NAME.filter(lambda name: name[:4].upper() != "AWS_")
ARNS = st.builds(
    ChannelArn, st.just("aws"), st.just("eu-west-1"), st.just("123456789012"), NAME, st.integers(0, 10**13)
)


def test_the_user_name_has_the_kvs_shape() -> None:
    username, password = ice.mint(b"secret", ARN, None, 1_700_000_000.9)
    assert username == "1700000300:" + base64.b64encode(f"v1:{ARN}".encode()).decode()
    assert password == base64.b64encode(hmac.digest(b"secret", username.encode(), "sha256")).decode()
    assert len(password) == 44


def test_the_client_id_is_in_the_user_name_while_it_fits() -> None:
    username, _ = ice.mint(b"secret", ARN, "viewer-1", 0.0)
    assert base64.b64decode(username.partition(":")[2]) == f"v1:{ARN}:viewer-1".encode()
    long, _ = ice.mint(b"secret", ARN, "v" * 256, 0.0)
    assert base64.b64decode(long.partition(":")[2]) == f"v1:{ARN}".encode()


def test_a_long_channel_name_is_told_by_its_digest() -> None:
    arn = ChannelArn("aws", "us-west-2", "000000000000", "n" * 256, 1700000000000)
    username, password = ice.mint(b"secret", arn, "viewer-1", 0.0)
    assert base64.b64decode(username.partition(":")[2]).startswith(b"v2:")
    keys = ice.turn_keys(username, [b"secret"])
    assert keys is not None
    assert password in keys.passwords
    assert keys.channel == hashlib.sha256(str(arn).encode()).digest()


@given(ARNS, CLIENT | st.none(), st.integers(0, 10**10))
def test_every_credential_fits_and_its_keys_are_found_again(arn: ChannelArn, client_id: str | None, now: int) -> None:
    username, password = ice.mint(b"secret", arn, client_id, float(now), ttl_s=60)
    keys = ice.turn_keys(username, [b"newer", b"secret"])
    assert len(username) <= ice.USERNAME_LIMIT
    assert keys is not None
    assert password in keys.passwords
    assert keys.channel == ice.channel_digest(arn)
    assert keys.expires_at == now + 60


@given(ARNS, CLIENT | st.none())
def test_a_user_name_that_lost_its_padding_keeps_its_password(arn: ChannelArn, client_id: str | None) -> None:
    username, password = ice.mint(b"secret", arn, client_id, 0.0)
    keys = ice.turn_keys(username.rstrip("="), [b"secret"])
    assert keys is not None
    assert password in keys.passwords


@given(st.text(max_size=300))
def test_noise_has_no_keys(text: str) -> None:
    assert ice.turn_keys(text, [b"secret"]) is None


@given(st.binary(max_size=120))
def test_a_body_of_another_shape_has_no_keys(body: bytes) -> None:
    assert ice.turn_keys(f"1700000000:{base64.b64encode(body).decode()}", [b"secret"]) is None


@pytest.mark.parametrize(
    "text",
    [
        f"v1:{ARN}:",
        f"v1:{ARN}:two words",
        f"v1:{ARN}:AWS_x",
        f"v1:{ARN}:a:b",
        f"v1:{ARN}::",
        f"v1:{ARN}:a:",
        f"v1:{ARN}:a:{'t' * 11}",
        f"v1:{ARN}:a:{'t' * 13}",
        f"v1:{ARN}:a:{'t' * 12}:b",
        f"v1:{ARN}:two words:{'t' * 12}",
        "v2:" + base64.urlsafe_b64encode(b"x" * 32).decode() + ":",
        "v2:" + base64.urlsafe_b64encode(b"x" * 32).decode() + ":short",
        "v1:arn:aws:s3:::bucket",
        f"v3:{ARN}",
        "v2:short",
        "v2:" + base64.urlsafe_b64encode(b"x" * 33).decode(),
    ],
)
def test_nearly_right_names_have_no_keys(text: str) -> None:
    assert ice.turn_keys(f"1700000000:{base64.b64encode(text.encode()).decode()}", [b"secret"]) is None


def test_each_secret_gives_the_kvs_and_the_coturn_password_newest_first() -> None:
    username, _ = ice.mint(b"old", ARN, None, 0.0)
    keys = ice.turn_keys(username, [b"new", b"old"])
    assert keys is not None
    assert keys.passwords == tuple(
        base64.b64encode(hmac.digest(secret, username.encode(), digest)).decode()
        for secret in (b"new", b"old")
        for digest in ("sha256", "sha1")
    )


KEY, SESSION = "AKIA234567ABCDEFGHIJ", "ASIA234567ABCDEFGHIJ"


def test_who_can_be_revoked_stands_behind_the_client_id() -> None:
    tags = [base64.urlsafe_b64encode(hashlib.sha256(each.encode()).digest()[:9]).decode() for each in (SESSION, KEY)]
    username, _ = ice.mint(b"secret", ARN, "tablet", 0.0, credential_ids=(SESSION, KEY))
    assert base64.b64decode(username.partition(":")[2]).decode() == f"v1:{ARN}:tablet:{''.join(tags)}"
    keys = ice.turn_keys(username, [b"secret"])
    assert keys is not None
    assert keys.holders == (ice.holder_tag(SESSION), ice.holder_tag(KEY))
    nameless, _ = ice.mint(b"secret", ARN, None, 0.0, credential_ids=(KEY,))
    assert base64.b64decode(nameless.partition(":")[2]).decode() == f"v1:{ARN}::{tags[1]}"


@pytest.mark.slow
@given(ARNS, CLIENT | st.none(), st.lists(st.uuids().map(str), max_size=20))
def test_the_tags_never_give_way(arn: ChannelArn, client_id: str | None, credential_ids: list[str]) -> None:
    username, password = ice.mint(b"secret", arn, client_id, 0.0, 60, credential_ids)
    keys = ice.turn_keys(username, [b"secret"])
    assert len(username) <= ice.USERNAME_LIMIT
    assert keys is not None
    assert password in keys.passwords
    assert keys.channel == ice.channel_digest(arn)
    told = credential_ids if len(credential_ids) <= 8 else [credential_ids[0], *credential_ids[-7:]]
    assert keys.holders == tuple(map(ice.holder_tag, told))


def test_secrets_do_not_show_when_printed() -> None:
    username, password = ice.mint(b"secret", ARN, None, 0.0)
    keys = ice.turn_keys(username, [b"secret"])
    server = ice.IceServer(("turn:127.0.0.1:3478?transport=udp",), username, password, 300)
    for text in (repr(keys), repr(server)):
        assert password not in text
        assert username not in text


def test_coturn_derives_another_password_of_the_same_secret() -> None:
    username, password = ice.mint(b"north", ARN, None, 1_700_000_000.0)
    theirs = ice.coturn_password(b"north", username)
    assert len(theirs) == 28
    assert theirs != password
    keys = ice.turn_keys(username, (b"north",))
    assert keys is not None
    assert theirs in keys.passwords, "our own server takes both, so that the engine can be changed at any time"
