"""Who sent a request: stateless nonces, keys of usernames, the integrity check. No clock, no chance."""

import hmac
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from media.turn import stun

NONCE_SLOT_S = 1800
"""A nonce is accepted in its own slot and the next: it lives 30 to 60 minutes (RFC 8656 asks for an hour at most)."""

NONCE_CHARS = 28
REMEMBERED_ACCOUNTS = 1024
_USERNAME_BYTES = 513
_NONCE_BYTES = 127


class Keys(msgspec.Struct, frozen=True):
    """What is behind a username: the passwords to try, whom its use counts for, when it ends (core's clock).

    `holders` name everything whose revocation ends the credential: what it was fetched with, and what that came from.
    """

    passwords: tuple[str, ...]
    quota_key: bytes
    expires_at: float
    holders: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Keys(passwords=<{len(self.passwords)}>, expires_at={self.expires_at})"


KeyFor = Callable[[str], Keys | None]
"""Finds the keys of a username; None when nobody gave it out."""


class Account(msgspec.Struct, frozen=True):
    """A username with the key it proved to hold."""

    username: str
    key: bytes
    quota_key: bytes
    expires_at: float
    holders: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Account(expires_at={self.expires_at})"


class CredentialError(Exception):
    """The request did not prove who sent it: answer with `code` (400, 401 or 438), without integrity."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Credentials:
    """The long-term credential mechanism (RFC 8489, 9.2) without state before valid integrity."""

    def __init__(self, key_for: KeyFor, realm: str, secret: bytes) -> None:
        self._key_for = key_for
        self._realm = realm
        self._secret = secret
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def nonce(self, host: str, port: int, now: float) -> str:
        """Return the nonce that this client shall use now."""
        return self._nonce(host, port, int(now // NONCE_SLOT_S))

    def check(self, message: stun.Message, client: tuple[str, int], now: float, owner: Account | None) -> Account:
        """Return the account that signed the request.

        `owner` is the account of an allocation on this 5-tuple: it stays good after its credential has expired.
        Raises: CredentialError with 401, 400 or 438, and a reason for the count.
        """
        # RFC 8489, 9.2.4: no integrity -> 401, a missing companion -> 400, an old nonce -> 438
        if message.integrity_at < 0:
            raise CredentialError(401, "no-integrity")
        username, nonce = self._read(message)
        if not self._is_fresh(nonce, client, now):
            raise CredentialError(438, "stale-nonce")
        if owner is not None and owner.username == username and stun.has_integrity(message, owner.key):
            return owner
        account = self._prove(message, username)
        if account.expires_at <= now:
            raise CredentialError(401, "expired")
        self._remember(account)
        return account

    def forget(self, is_doomed: Callable[[Account], bool]) -> None:
        """Drop the remembered accounts that were revoked."""
        for username in [name for name, account in self._accounts.items() if is_doomed(account)]:
            del self._accounts[username]

    def _read(self, message: stun.Message) -> tuple[str, str]:
        username, realm, nonce = (message.first(key) for key in (stun.USERNAME, stun.REALM, stun.NONCE))
        if username is None or realm is None or nonce is None:
            raise CredentialError(400, "incomplete")
        try:
            return stun.text(username, _USERNAME_BYTES), stun.text(nonce, _NONCE_BYTES)
        except stun.StunError as error:
            raise CredentialError(400, "malformed") from error

    def _prove(self, message: stun.Message, username: str) -> Account:
        known = self._accounts.get(username)
        if known is not None and stun.has_integrity(message, known.key):
            return known
        keys = self._key_for(username)
        if keys is None:
            raise CredentialError(401, "unknown-username")
        for password in keys.passwords:
            key = stun.integrity_key(username, self._realm, password)
            if stun.has_integrity(message, key):
                return Account(username, key, keys.quota_key, keys.expires_at, keys.holders)
        raise CredentialError(401, "wrong-integrity")

    def _remember(self, account: Account) -> None:
        self._accounts[account.username] = account
        self._accounts.move_to_end(account.username)
        if len(self._accounts) > REMEMBERED_ACCOUNTS:
            self._accounts.popitem(last=False)

    def _nonce(self, host: str, port: int, slot: int) -> str:
        text = f"nonce {slot} {port} {host}".encode()
        return hmac.digest(self._secret, text, "sha256").hex()[:NONCE_CHARS]

    def _is_fresh(self, nonce: str, client: tuple[str, int], now: float) -> bool:
        slot = int(now // NONCE_SLOT_S)
        given = nonce.encode()
        return any(hmac.compare_digest(given, self._nonce(*client, age).encode()) for age in (slot, slot - 1))
