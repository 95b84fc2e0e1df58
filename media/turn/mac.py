"""HMAC (RFC 2104) for short messages in great numbers. No state.

`hmac.digest` has OpenSSL look its algorithm up at every call, which takes longer than hashing a STUN message does. A
copy of a hash that was made once does without, and one that has read its key already saves half of the rest.
"""

import functools
import hashlib
import hmac

REMEMBERED_KEYS = 256
"""A client signs some requests in a row with its key, and the server's own keys are used all the time."""

_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_SHA1 = hashlib.sha1(usedforsecurity=False)  # as HMAC it is unbroken, and MESSAGE-INTEGRITY asks for it
_SHA256 = hashlib.sha256()


def sha1(key: bytes, data: bytes) -> bytes:
    """Return the 20 bytes of HMAC-SHA1."""
    return _mac(*_sha1_of(key), data)


def sha256(key: bytes, data: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SHA256."""
    return _mac(*_sha256_of(key), data)


def _mac(inner: "hashlib._Hash", outer: "hashlib._Hash", data: bytes) -> bytes:
    inner, outer = inner.copy(), outer.copy()
    inner.update(data)
    outer.update(inner.digest())
    return outer.digest()


@functools.lru_cache(REMEMBERED_KEYS)
def _sha1_of(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    return _begin(_SHA1, key)


@functools.lru_cache(REMEMBERED_KEYS)
def _sha256_of(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    return _begin(_SHA256, key)


def _begin(blank: "hashlib._Hash", key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Return the inner and the outer hash behind the key."""
    if len(key) > _BLOCK_BYTES:
        long = blank.copy()
        long.update(key)
        key = long.digest()
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = blank.copy(), blank.copy()
    inner.update(block.translate(_INNER))
    outer.update(block.translate(_OUTER))
    return inner, outer


def is_same(one: bytes, other: bytes) -> bool:
    """Compare two values in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)
