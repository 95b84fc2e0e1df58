"""Secrets of access keys at rest: sealed, not hashed.

A signature (SigV4) is an HMAC under the secret itself, so whoever verifies one needs the secret in clear, where a hash
is enough for a password. What is stored is therefore encrypted, under a key in a file of its own: a copy of the key
store alone gives no secret away. Access key id and account are bound to it, so that no sealed secret can be put in the
place of another.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.2; random, which is good for 2^32 secrets under one key


class SealError(Exception):
    """A sealed secret cannot be opened; the text says which and why."""


class Seal:
    """Closes and opens with AES-256-GCM. Of `keys`, each of 32 bytes, the last closes and all open.

    Which key closed a secret stands before it as the start of the key's digest. Raises: SealError for a key of another
    length, or none.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"a key that seals has {KEY_BYTES} bytes")
        self._ciphers = {_kid(key): AESGCM(key) for key in keys}
        self._newest = _kid(keys[-1])

    @classmethod
    def for_this_process(cls) -> "Seal":
        """A seal that nothing else can open, for what is never written down."""
        return cls([secrets.token_bytes(KEY_BYTES)])

    def close(self, secret: str, access_key_id: str, account: str) -> str:
        """Return `secret` sealed for this access key of this account, as text."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, secret.encode(), _bound(access_key_id, account))
        return f"{self._newest}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, access_key_id: str, account: str) -> str:
        """Return the secret that was closed for this access key of this account. Raises: SealError."""
        if not sealed:
            raise SealError(f"the store has no secret of {access_key_id}, or none that goes with what it says of it")
        kid, _, text = sealed.partition(".")
        cipher = self._ciphers.get(kid)
        if cipher is None:
            raise SealError(f"the secret of {access_key_id} is sealed with the key {kid}, which is not here")
        try:
            data = base64.b64decode(text, validate=True)
            nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
            return cipher.decrypt(nonce, rest, _bound(access_key_id, account)).decode()
        except (InvalidTag, ValueError, binascii.Error):
            raise SealError(f"the sealed secret of {access_key_id} was changed") from None


def _kid(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


def _bound(access_key_id: str, account: str) -> bytes:
    return f"{access_key_id}\n{account}".encode()
