"""Signatures and tokens by another algorithm, key or means than they have to be."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import jwt

from channels.auth import canonical, sigv4
from channels.auth.canonical import EMPTY_HASH, SignedRequest
from tests.app.hostile.harms import INCOMPLETE, INVALID, UNRECOGNIZED, Harm, Outcome
from tests.app.hostile.rig import Rig
from tests.wire import Wire


def forged(headers: dict[str, Any], key: str | bytes, algorithm: str) -> Callable[[Rig], str]:
    def make(rig: Rig) -> str:
        claims = {"iss": "heliograph", "aud": "heliograph", "sub": "x", "exp": int(rig.wall) + 60, "scope": "kvs:*"}
        text = jwt.encode(claims, key or None, algorithm, headers={"kid": "k", **headers})
        rig.note(text)
        return text

    return make


def unsigned(rig: Rig) -> str:
    text = rig.token()
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k"}').decode().rstrip("=")
    return f"{head}.{text.split('.')[1]}."


TOKENS: dict[str, Callable[[Rig], str]] = {
    "token, none": unsigned,
    "token, none in capitals": lambda rig: unsigned(rig).replace("eyJhbGciOiJub25l", "eyJhbGciOiJOT05F"),
    "token, no signature": lambda rig: rig.token().rpartition(".")[0] + ".",
    "token, HS512 of another secret": forged({}, b"x" * 64, "HS512"),
    "token, HS256 of another secret": forged({}, b"x" * 64, "HS256"),
    "token, HS256 of an empty secret's length": forged({}, b"\0" * 32, "HS256"),
    "token, unknown kid": forged({"kid": "other"}, b"x" * 64, "HS256"),
    "token, a key inside": forged({"jwk": {"kty": "oct", "k": "eA"}}, b"x" * 64, "HS256"),
    "token, a key elsewhere": forged({"jku": "https://evil.example.org/jwks.json"}, b"x" * 64, "HS256"),
    "token, of a session": lambda rig: rig.session.session_token,
}
# (call, what was done); the unharmed request is the signed one
HEADERS: dict[str, tuple[Callable[[str], str], Outcome]] = {
    "AWS4-HMAC-SHA1": (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), UNRECOGNIZED),
    "AWS4-HMAC-SHA512": (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), UNRECOGNIZED),
    "AWS4-ECDSA-P256-SHA256": (lambda text: text.replace("HMAC-SHA256", "ECDSA-P256-SHA256"), UNRECOGNIZED),
    "AWS3": (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS3"), UNRECOGNIZED),
    "lower case": (lambda text: text.replace("AWS4-HMAC-SHA256", "aws4-hmac-sha256"), INCOMPLETE),
    "Basic": (lambda text: "Basic dTpw", UNRECOGNIZED),
    "AWS, version 2": (lambda text: "AWS AKIA:c2ln", UNRECOGNIZED),
    "Bearer": (lambda text: text.replace("AWS4-HMAC-SHA256", "Bearer"), UNRECOGNIZED),
    "Digest": (lambda text: text.replace("AWS4-HMAC-SHA256", "Digest"), UNRECOGNIZED),
    "another terminator": (lambda text: text.replace("aws4_request", "aws3_request"), INCOMPLETE),
    "another service": (lambda text: text.replace("/kinesisvideo/", "/s3/"), INVALID),
}


def resigned(how: Callable[[Rig, str, str], str]) -> Harm:
    """Signed anew by other means: gets the secret and the string to sign."""

    def harm(rig: Rig, wire: Wire) -> Wire:
        path, _, query = wire.target.partition("?")
        request = SignedRequest(wire.method, path, query, wire.headers)
        claimed = sigv4.parse(request)
        payload = canonical.hash_of(wire.body) if wire.body else EMPTY_HASH
        form = next(canonical.canonical_requests(request, claimed.headers, payload))
        text = canonical.string_to_sign(claimed.amz_date, claimed.scope, form)
        made = how(rig, rig.key.secret, text)
        if wire.method == "POST":
            return wire.having(("authorization", dict(wire.headers)["authorization"][:-64] + made))
        return wire.at(wire.target[:-64] + made)

    return harm


MACS: dict[str, Harm] = {
    "signed with the bare secret": resigned(
        lambda rig, secret, text: hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()
    ),
    "signed with the key id": resigned(
        lambda rig, secret, text: hmac.new(rig.key.id.encode(), text.encode(), "sha256").hexdigest()
    ),
    "signed with nothing": resigned(lambda rig, secret, text: hmac.new(b"", text.encode(), "sha256").hexdigest()),
    "a bare hash": resigned(lambda rig, secret, text: hashlib.sha256(text.encode()).hexdigest()),
    "the hash of secret and text": resigned(
        lambda rig, secret, text: hashlib.sha256((secret + text).encode()).hexdigest()
    ),
    "another hash of the same length": resigned(
        lambda rig, secret, text: hmac.new(("AWS4" + secret).encode(), text.encode(), "sha3_256").hexdigest()
    ),
}
