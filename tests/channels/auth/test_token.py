"""Forged, stale and odd tokens are refused, each beside the same token unharmed, which passes."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from channels.auth.token import TokenKey, TokenVerifier
from channels.errors import ExpiredTokenException, InvalidArgumentException, UnrecognizedClientException
from tests.channels.auth.tokens import (
    EC,
    EC_2,
    NOW,
    SETTINGS,
    b64,
    by_curve,
    by_secret,
    claims,
    ec_token,
    hmac_token,
    minted,
    raw,
    recalled,
    verifier,
)

FORGED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "dots": lambda: "..",
    "one part": lambda: "x",
    "two parts": lambda: ec_token().rpartition(".")[0],
    "five parts": lambda: ec_token() + ".a.b",
    "not ASCII": lambda: ec_token() + "é",
    "surrogate": lambda: ec_token() + "\ud800",
    "spaces around": lambda: f" {ec_token()} ",
    "header no JSON": lambda: raw(b"{", claims(), by_curve(EC)),
    "header a list": lambda: raw(b"[]", claims(), by_curve(EC)),
    "header nested deep": lambda: raw(b"[" * 3000, claims(), by_curve(EC)),
    "payload no JSON": lambda: raw({"alg": "ES256", "kid": EC.kid}, b"{", by_curve(EC)),
    "payload a list": lambda: raw({"alg": "ES256", "kid": EC.kid}, b"[]", by_curve(EC)),
    "payload nested deep": lambda: raw({"alg": "ES256", "kid": EC.kid}, b"[" * 5000, by_curve(EC)),
    "alg none": lambda: ec_token({"alg": "none"}),
    "alg none without signature": lambda: ec_token({"alg": "none"}).rpartition(".")[0] + ".",
    "alg nOnE": lambda: ec_token({"alg": "nOnE"}),
    "alg missing": lambda: raw({"kid": EC.kid}, claims(), by_curve(EC)),
    "alg a list": lambda: ec_token({"alg": ["ES256"]}),
    "alg null": lambda: ec_token({"alg": None}),
    "alg unknown": lambda: ec_token({"alg": "ES999"}),
    "alg in lower case": lambda: ec_token({"alg": "es256"}),
    "HS256 with the public PEM": lambda: raw({"alg": "HS256", "kid": EC.kid}, claims(), by_secret(EC.public)),
    "HS256 with the stripped PEM": lambda: raw({"alg": "HS256", "kid": EC.kid}, claims(), by_secret(EC.public.strip())),
    "HS256 with an empty secret": lambda: raw({"alg": "HS256", "kid": EC.kid}, claims(), by_secret(b"")),
    "right secret under the curve's kid": lambda: hmac_token({"kid": EC.kid}),
    "curve under the secret's kid": lambda: ec_token({"kid": "shared"}),
    "other algorithm of the same secret": lambda: raw(
        {"alg": "HS512", "kid": "shared"}, claims(), lambda data: hmac.digest(b"k" * 32, data, hashlib.sha512)
    ),
    "foreign key": lambda: ec_token(key=EC_2),
    "foreign secret": lambda: hmac_token(secret=b"j" * 32),
    "kid missing": lambda: raw({"alg": "ES256"}, claims(), by_curve(EC)),
    "kid unknown": lambda: ec_token({"kid": "other"}),
    "kid empty": lambda: ec_token({"kid": ""}),
    "kid a path": lambda: ec_token({"kid": "../../dev/null"}),
    "kid a number": lambda: ec_token({"kid": 1}),
    "kid null": lambda: ec_token({"kid": None}),
    "embedded key": lambda: ec_token({"jwk": jwk_of(EC_2)}, key=EC_2),
    "key by URL": lambda: ec_token({"jku": "http://127.0.0.1:1/keys"}, key=EC_2),
    "unknown crit": lambda: ec_token({"crit": ["exotic"], "exotic": 1}),
    "crit empty": lambda: ec_token({"crit": []}),
    "crit no list": lambda: ec_token({"crit": "exp"}),
    "detached payload": lambda: ec_token({"b64": False, "crit": ["b64"]}),
    "detached and empty payload": lambda: raw(
        {"alg": "ES256", "kid": EC.kid, "b64": False, "crit": ["b64"]}, b"", by_curve(EC)
    ),
    "signature cut": lambda: ec_token()[:-4],
    "signature empty": lambda: ec_token().rpartition(".")[0] + ".",
    "signature of zeros": lambda: ec_token().rpartition(".")[0] + "." + b64(bytes(64)),
    "signature in DER": lambda: raw({"alg": "ES256", "kid": EC.kid}, claims(), der_signature),
    "payload of another token": lambda: transplanted(),
    "no exp": lambda: ec_token(exp=None),
    "no sub": lambda: ec_token(sub=None),
    "no aud": lambda: ec_token(aud=None),
    "no iss": lambda: ec_token(iss=None),
    "exp a string": lambda: ec_token(exp=str(int(NOW) + 60)),
    "exp a fraction": lambda: ec_token(exp=NOW + 60.5),
    "exp true": lambda: ec_token(exp=True),
    "exp huge": lambda: ec_token(exp=10**300),
    "exp negative": lambda: ec_token(exp=-1),
    "exp infinite": lambda: ec_token(exp=float("inf")),
    "nbf a string": lambda: ec_token(nbf="0"),
    "iat a string": lambda: ec_token(iat="0"),
    "sub a number": lambda: ec_token(sub=7),
    "sub empty": lambda: ec_token(sub=""),
    "aud wrong": lambda: ec_token(aud="other"),
    "aud a prefix": lambda: ec_token(aud="helio"),
    "aud none of the list": lambda: ec_token(aud=["a", "b"]),
    "aud an empty list": lambda: ec_token(aud=[]),
    "aud a list of numbers": lambda: ec_token(aud=[1, "heliograph"]),
    "aud an object": lambda: ec_token(aud={"heliograph": 1}),
    "iss wrong": lambda: ec_token(iss="other"),
    "iss a list": lambda: ec_token(iss=["heliograph"]),
    "nbf in 31 s": lambda: ec_token(nbf=int(NOW) + 31),
    "iat in 31 s": lambda: ec_token(iat=int(NOW) + 31),
    "jti a number": lambda: ec_token(jti=1),
    "scope a list": lambda: ec_token(scope=["kvs:*"]),
    "channels a string": lambda: ec_token(channels="*"),
    "cid no client id": lambda: ec_token(cid="a b"),
    "account short": lambda: ec_token(account="1"),
}


def jwk_of(key: TokenKey) -> dict[str, Any]:
    return TokenVerifier([key], SETTINGS).jwks()["keys"][0]


def der_signature(data: bytes) -> bytes:
    key = serialization.load_pem_private_key(EC.private or b"", None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def transplanted() -> str:
    header, _, signature = ec_token().split(".")
    return ".".join((header, ec_token(sub="root").split(".")[1], signature))


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_forged_token_is_refused_and_the_unharmed_one_passes(forge: Callable[[], str]) -> None:
    judge = verifier()
    with pytest.raises(UnrecognizedClientException) as refused:
        judge.verify(forge(), NOW)
    assert refused.value.status == 403
    assert judge.verify(ec_token(), NOW).subject == "dev-1"
    assert judge.verify(hmac_token(), NOW).subject == "dev-1"
    with pytest.raises(UnrecognizedClientException):  # a failure is never remembered as good
        judge.verify(forge(), NOW)
    assert len(judge) == 2


@pytest.mark.parametrize("make", [ec_token, hmac_token])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["other", "heliograph"]},
        {"nbf": int(NOW) + 29},
        {"iat": int(NOW) + 29},
        {"nbf": int(NOW) - 9, "iat": int(NOW) - 9, "jti": "j"},
        {"unknown": {"deep": [1]}},
    ],
    ids=str,
)
def test_good_token_passes(make: Callable[..., str], changes: dict[str, Any]) -> None:
    grant = verifier().verify(make(**changes), NOW)
    assert grant.expires_at == NOW + 60
    assert grant.token_id == changes.get("jti")


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"jwk": {"kty": "oct", "k": "AAAA"}}, {"cty": "x"}])
def test_header_fields_that_say_nothing_here_are_ignored(header: dict[str, Any]) -> None:
    assert verifier().verify(ec_token(header), NOW).subject == "dev-1"


@pytest.mark.parametrize("late_s", [0, 29, 29.9])
def test_token_passes_within_the_leeway(late_s: float) -> None:
    assert verifier().verify(ec_token(), NOW + 60 + late_s).subject == "dev-1"


@pytest.mark.parametrize("late_s", [30, 31, 1e6])
def test_token_expires_after_the_leeway(late_s: float) -> None:
    judge, text = verifier(), ec_token()
    for token_text in (text, ec_token()):  # remembered, and seen for the first time
        assert judge.verify(text, NOW)
        with pytest.raises(ExpiredTokenException):
            judge.verify(token_text, NOW + 60 + late_s)


def sized(size: int) -> str:
    """A good token of exactly `size` bytes, filled up in a claim and, for what base64 leaves over, in the header."""
    for header_fill in range(4):
        room = size - len(hmac_token({"x": "y" * header_fill}, fill=""))
        for fill in range(room * 3 // 4 - 3, room * 3 // 4 + 4):
            made = hmac_token({"x": "y" * header_fill}, fill="z" * fill)
            if len(made) == size:
                return made
    raise AssertionError(f"no token of {size} bytes")


def test_token_of_8_kb_passes_and_one_byte_more_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = verifier()
    assert judge.verify(sized(8192), NOW).subject == "dev-1"
    too_long = sized(8193)
    monkeypatch.setattr(jwt, "get_unverified_header", lambda _: pytest.fail("decoded"))
    with pytest.raises(UnrecognizedClientException, match="8192 bytes"):
        judge.verify(too_long, NOW)
    assert recalled(judge, too_long, NOW) is None


def test_without_kid_the_only_key_is_taken() -> None:
    text = raw({"alg": "ES256"}, claims(), by_curve(EC))
    assert verifier(EC).verify(text, NOW).subject == "dev-1"
    with pytest.raises(UnrecognizedClientException):
        verifier(EC_2).verify(text, NOW)


def test_kid_of_another_key_is_refused_even_when_there_is_only_one() -> None:
    with pytest.raises(UnrecognizedClientException):
        verifier(EC).verify(ec_token({"kid": "other"}), NOW)


def test_minted_token_gives_back_what_was_asked() -> None:
    grant = verifier().verify(minted(EC, client_id="v-1", actions=["kvs:Get*", "ConnectAsViewer"]), NOW)
    assert grant.statements[0].actions == ("kinesisvideo:Get*", "kinesisvideo:ConnectAsViewer")
    assert grant.statements[0].resources == ("arn:*:kinesisvideo:*:000000000000:channel/door/*",)
    assert (grant.client_id, grant.account, grant.expires_at) == ("v-1", "000000000000", NOW + 60)
    assert grant.token_id


@pytest.mark.parametrize(
    "changes", [{"client_id": "a b"}, {"channels": ["no name"]}, {"channels": [f"*{i:0100}" for i in range(100)]}]
)
def test_what_could_not_be_verified_is_not_minted(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentException):
        minted(EC, **changes)


PLAIN = hmac_token()


@given(st.integers(0, len(PLAIN) - 1), st.characters(codec="ascii"))
def test_any_changed_character_makes_it_fail(position: int, character: str) -> None:
    forged = PLAIN[:position] + character + PLAIN[position + 1 :]
    if forged == PLAIN:
        return
    with pytest.raises(UnrecognizedClientException):
        verifier().verify(forged, NOW)


@given(st.text(max_size=300))
def test_any_text_is_refused_by_the_one_error(text: str) -> None:
    with pytest.raises(UnrecognizedClientException):
        verifier().verify(text, NOW)
