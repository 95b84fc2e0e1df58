"""The JWT library's JSON Web Signatures (RFC 7515) without what it does slowly or for nothing. Knows no claims.

Most of what a token costs was the library's loop over each character, its reading of one and the same header for every
token, and its looking at one and the same secret. All else is the library's, refusals above all.
"""

import base64
import binascii
import functools
import hmac
import re
from typing import Any, Final

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

HS256: Final = "HS256"
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")
_TO_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_PADDINGS: Final = (b"", b"", b"==", b"=")  # by what is left of four characters
_HEADERS: Final = 64  # those of one key's tokens are one text, or a few


class _Header(msgspec.Struct, frozen=True):
    kid: str | None = None


_decode_header = msgspec.json.Decoder(_Header).decode


class _Codec(jwt.PyJWS):
    """Reads well-formed parts quickly; what is not is left to the library, which says what is wrong."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm])
        self._headers: dict[bytes, dict[str, Any]] = {}  # that the library has read

    def _load(self, jwt: str | bytes) -> tuple[bytes, bytes, dict[str, Any], bytes]:
        token = jwt.encode() if isinstance(jwt, str) else jwt
        parts = token.split(b".")
        header = self._headers.get(parts[0])
        if header is None or len(parts) != 3:
            loaded = super()._load(token)
            if "b64" not in loaded[2]:  # else the payload is not where it is looked for here
                if len(self._headers) == _HEADERS:
                    self._headers.clear()
                self._headers[parts[0]] = loaded[2]
            return loaded
        payload = self._decode_base64url_segment(parts[1], "payload")
        signature = self._decode_base64url_segment(parts[2], "crypto")
        return payload, token[: -len(parts[2]) - 1], header, signature

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        left = len(segment) % 4
        if left != 1 and _BASE64URL.fullmatch(segment):
            decoded = binascii.a2b_base64(segment.translate(_TO_BASE64) + _PADDINGS[left])
            # Bits that the last character has too many must be 0 (RFC 4648, 3.5).
            if not left or base64.urlsafe_b64encode(decoded[1 - left :])[:left] == segment[-left:]:
                return decoded
        return jwt.PyJWS._decode_base64url_segment(segment, name)


class _Secret(HMACAlgorithm):
    """HMAC with a secret that was looked at once, when the codec was made."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(HMACAlgorithm.SHA256)
        self._secret = super().prepare_key(secret)

    def prepare_key(self, key: str | bytes) -> bytes:
        return self._secret

    def sign(self, msg: bytes, key: bytes) -> bytes:
        return hmac.digest(key, msg, "sha256")


def codec(algorithm: str, secret: bytes | None = None) -> jwt.PyJWS:
    """Return a codec of this algorithm alone; the `secret` of HS256 is then its only key.

    Raises: jwt.InvalidKeyError for a secret that is the text of a public key, NotImplementedError.
    """
    made = _Codec(algorithm)
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
    return _key_id(first)


@functools.lru_cache(_HEADERS)  # of a pure function
def _key_id(first: str) -> str | None:
    try:
        return _decode_header(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))).kid
    except (ValueError, RecursionError):  # no base64, no JSON, no object
        raise jwt.DecodeError("the header cannot be read") from None
