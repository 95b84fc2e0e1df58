"""Keys, and tokens put together by hand, good ones and others."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from channels.auth import token
from channels.auth.grant import Grant
from channels.auth.token import TokenKey, TokenSettings, TokenVerifier

NOW = 1_700_000_000.0
SETTINGS = TokenSettings(account="000000000000")
EC = token.new_es256_key()
EC_2 = token.new_es256_key()
HMAC = token.secret_key("shared", b"k" * 32)
KEYS = (EC, HMAC)


def pem_of(key: Any) -> bytes:
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))


def public_pem_of(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims with changes; None takes one out."""
    good: dict[str, Any] = {
        "iss": "heliograph",
        "sub": "dev-1",
        "aud": "heliograph",
        "exp": int(NOW) + 60,
        "scope": "kvs:ConnectAsViewer",
        "channels": ["*"],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token put together by hand: nothing of ours or the library's refuses to make it."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = ".".join(b64(part) for part in parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


def by_secret(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def by_curve(key: TokenKey) -> Callable[[bytes], bytes]:
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return lambda data: algorithm.sign(data, algorithm.prepare_key(key.private or b""))


def ec_token(header: dict[str, Any] | None = None, key: TokenKey = EC, **changes: Any) -> str:
    return raw({"alg": "ES256", "kid": EC.kid} | (header or {}), claims(**changes), by_curve(key))


def hmac_token(header: dict[str, Any] | None = None, secret: bytes = HMAC.private or b"", **changes: Any) -> str:
    return raw({"alg": "HS256", "kid": "shared"} | (header or {}), claims(**changes), by_secret(secret))


def verifier(*keys: TokenKey, **options: Any) -> TokenVerifier:
    return TokenVerifier(keys or KEYS, SETTINGS, **options)


class _UnknownError(Exception):
    pass


def recalled(judge: TokenVerifier, text: str, now: float) -> Grant | None:
    """What a token allows that has passed before; one that has not is not looked at."""

    def refuse() -> None:
        raise _UnknownError

    try:
        return judge.verify(text, now, refuse)
    except _UnknownError:
        return None


def minted(key: TokenKey, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "subject": "dev-1",
        "actions": ["ConnectAsViewer"],
        "channels": ["door"],
        "now_wall": NOW,
        "lifetime_s": 60.0,
    }
    return token.mint(key, SETTINGS, **(fields | changes))
