"""The JWT library's JSON Web Signatures (RFC 7515) without what it does slowly or for nothing. Knows no claims.

Two thirds of what a token costs were the library's loop over each character, its second reading of the whole token for
the header, and its looking at one and the same secret for every token. All else is the library's, refusals above all.
"""

import base64
import re
from typing import Any, Final

import jwt
from jwt.algorithms import HMACAlgorithm

HS256: Final = "HS256"
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")


class _Codec(jwt.PyJWS):
    """Reads well-formed parts quickly; what is not is left to the library, which says what is wrong."""

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        if _BASE64URL.fullmatch(segment) and len(segment) % 4 != 1:
            decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
            if base64.urlsafe_b64encode(decoded).rstrip(b"=") == segment:
                return decoded
        return jwt.PyJWS._decode_base64url_segment(segment, name)


class _Secret(HMACAlgorithm):
    """HMAC with a secret that was looked at once, when the codec was made."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(HMACAlgorithm.SHA256)
        self._secret = super().prepare_key(secret)

    def prepare_key(self, key: str | bytes) -> bytes:
        return self._secret


_unverified_header = _Codec().get_unverified_header


def codec(algorithm: str, secret: bytes | None = None) -> jwt.PyJWS:
    """Return a codec of this algorithm alone; the `secret` of HS256 is then its only key.

    Raises: jwt.InvalidKeyError for a secret that is the text of a public key, NotImplementedError.
    """
    made = _Codec(algorithms=[algorithm])
    if secret is not None:
        made.unregister_algorithm(algorithm)
        made.register_algorithm(algorithm, _Secret(secret))
    return made


def header(token: str) -> dict[str, Any]:
    """The header of a token that nobody has verified. Raises: jwt.PyJWTError."""
    first, *others = token.split(".")
    if len(others) != 2:
        raise jwt.DecodeError("a token has three parts")
    return _unverified_header(f"{first}..")
