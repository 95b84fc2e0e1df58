import base64
import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.auth import jws

SECRET = b"0123456789abcdef0123456789abcdef"
TOKEN = jwt.encode({"sub": "somebody"}, SECRET, "HS256", headers={"kid": "k"})
HEAD, PAYLOAD, SIGNATURE = TOKEN.split(".")


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_token_is_verified_by_the_codec_s_own_secret() -> None:
    codec = jws.codec("HS256", SECRET)
    assert json.loads(codec.decode(TOKEN, SECRET, ["HS256"])) == {"sub": "somebody"}
    other = jwt.encode({"sub": "somebody"}, SECRET[::-1], "HS256")
    with pytest.raises(jwt.InvalidSignatureError):
        codec.decode(other, SECRET, ["HS256"])


@pytest.mark.parametrize(
    "secret", [b'{"kty": "oct", "k": "AAAA"}' + b" " * 16, b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk="]
)
def test_a_secret_that_is_the_text_of_another_kind_of_key_is_refused_when_it_is_read(secret: bytes) -> None:
    with pytest.raises(jwt.InvalidKeyError):
        jws.codec("HS256", secret)


def test_a_codec_knows_one_algorithm() -> None:
    with pytest.raises(jwt.InvalidAlgorithmError):
        jws.codec("ES256").decode(TOKEN, SECRET, ["HS256", "ES256"])


def test_the_key_is_read_without_the_rest() -> None:
    assert jws.key_id(f"{HEAD}.!.!") == "k"
    assert jws.key_id(part({"alg": "HS256"}) + "..") is None


@pytest.mark.parametrize(
    "token",
    ["", "a", f"{HEAD}.{PAYLOAD}", f"{TOKEN}.x", f"é{TOKEN}", f"x{TOKEN}", part([1]) + "..", part({"kid": 1}) + ".."],
)
def test_what_has_no_header_is_refused(token: str) -> None:
    with pytest.raises(jwt.DecodeError):
        jws.key_id(token)


@given(st.binary(max_size=40) | st.text("AQgw-_=. +/é", max_size=12).map(str.encode))
def test_a_part_is_read_as_the_library_reads_it(segment: bytes) -> None:
    outcomes = []
    for codec in (jwt.PyJWS, jws._Codec):
        try:
            outcomes.append(repr(codec._decode_base64url_segment(segment, "payload")))
        except jwt.DecodeError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
