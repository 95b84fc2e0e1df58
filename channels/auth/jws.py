"""The JWT library's JSON Web Signatures (RFC 7515) without what it does slowly or for nothing. Knows no claims.

Two thirds of what a token costs were the library's loop over each character, its second reading of the whole token for
the header, and its looking at one and the same secret for every token. All else is the library's, refusals above all.
"""

import base64
import re
from typing import Final

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

HS256: Final = "HS256"
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")


class _Header(msgspec.Struct, frozen=True):
    kid: str | None = None


_decode_header = msgspec.json.Decoder(_Header).decode


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


def codec(algorithm: str, secret: bytes | None = None) -> jwt.PyJWS:
    """Return a codec of this algorithm alone; the `secret` of HS256 is then its only key.

    Raises: jwt.InvalidKeyError for a secret that is the text of a public key, NotImplementedError.
    """
    made = _Codec(algorithms=[algorithm])
    if secret is not None:
        made.unregister_algorithm(algorithm)
        made.register_algorithm(algorithm, _Secret(secret))
    return made


def key_id(token: str) -> str | None:
    """Which key a token says that it is of; the codec of that key then reads the header as the library does.

    Raises: jwt.DecodeError when there is no header to read.
    """
    first, *others = token.split(".")
    if len(others) != 2 or not token.isascii():
        raise jwt.DecodeError("a token has three parts, of ASCII characters")
    try:
        return _decode_header(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))).kid
    except (ValueError, RecursionError):  # no base64, no JSON, no object
        raise jwt.DecodeError("the header cannot be read") from None
