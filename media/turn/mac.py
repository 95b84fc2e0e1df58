"""HMAC (RFC 2104) for short messages in great numbers. No state.

`hmac.digest` has OpenSSL look its algorithm up at every call, which takes longer than hashing a STUN message does. A
copy of a hash that was made once does without.
"""

import hashlib
import hmac

_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_SHA1 = hashlib.sha1(usedforsecurity=False)  # as HMAC it is unbroken, and MESSAGE-INTEGRITY asks for it
_SHA256 = hashlib.sha256()


def sha1(key: bytes, data: bytes) -> bytes:
    """Return the 20 bytes of HMAC-SHA1."""
    return _mac(_SHA1, key, data)


def sha256(key: bytes, data: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SHA256."""
    return _mac(_SHA256, key, data)


def _mac(blank: "hashlib._Hash", key: bytes, data: bytes) -> bytes:
    if len(key) > _BLOCK_BYTES:
        long = blank.copy()
        long.update(key)
        key = long.digest()
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = blank.copy()
    inner.update(block.translate(_INNER) + data)
    outer = blank.copy()
    outer.update(block.translate(_OUTER) + inner.digest())
    return outer.digest()


def is_same(one: bytes, other: bytes) -> bool:
    """Compare two values in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)
