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


def test_a_header_that_was_read_before_is_not_read_again_and_what_is_wrong_with_the_rest_is_still_told() -> None:
    codec = jws.codec("HS256", SECRET)
    other = jwt.encode({"sub": "another"}, SECRET, "HS256", headers={"kid": "k"})
    bad = ("", HEAD, f"{HEAD}.{PAYLOAD}", f"{TOKEN}.x", f"{HEAD}.!.{SIGNATURE}", f"{HEAD}.{PAYLOAD}.{SIGNATURE}=")
    before = [_outcome(codec, token) for token in bad]
    assert json.loads(codec.decode(TOKEN, SECRET, ["HS256"])) == {"sub": "somebody"}
    assert json.loads(codec.decode(other, SECRET, ["HS256"])) == {"sub": "another"}
    assert [_outcome(codec, token) for token in bad] == before == [_outcome(jwt.PyJWS(), token) for token in bad]
    forged = f"{HEAD}.{PAYLOAD}.{other.rpartition('.')[2]}"
    with pytest.raises(jwt.InvalidSignatureError):
        codec.decode(forged, SECRET, ["HS256"])


def test_a_token_with_its_payload_elsewhere_is_refused_every_time() -> None:
    codec = jws.codec("HS256", SECRET)
    head = part({"alg": "HS256", "kid": "k", "b64": False, "crit": ["b64"]})
    for _ in range(2):
        with pytest.raises(jwt.DecodeError, match="Payload segment must be empty"):
            codec.decode(f"{head}.{PAYLOAD}.{SIGNATURE}", SECRET, ["HS256"])


def test_headers_are_remembered_within_a_bound() -> None:
    codec = jws.codec("HS256", SECRET)
    for number in range(200):
        token = jwt.encode({"sub": "somebody"}, SECRET, "HS256", headers={"kid": str(number)})
        assert json.loads(codec.decode(token, SECRET, ["HS256"])) == {"sub": "somebody"}
    assert isinstance(codec, jws._Codec)
    assert len(codec._headers) <= 64


def _outcome(codec: jwt.PyJWS, token: str) -> str:
    try:
        return repr(codec.decode(token, SECRET, ["HS256"]))
    except jwt.PyJWTError as error:
        return f"{type(error).__name__}: {error}"


@given(st.binary(max_size=40) | st.text("AQgw-_=. +/é", max_size=12).map(str.encode))
def test_a_part_is_read_as_the_library_reads_it(segment: bytes) -> None:
    outcomes = []
    for codec in (jwt.PyJWS, jws._Codec):
        try:
            outcomes.append(repr(codec._decode_base64url_segment(segment, "payload")))
        except jwt.DecodeError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
