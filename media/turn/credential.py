"""Who sent a request: keys of usernames and the integrity check (RFC 8489, 9.2). No clock, no chance."""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from media.turn import nonce, stun
from media.turn.nonce import Nonces

PASSWORD_ALGORITHMS = bytes((0, stun.SHA256, 0, 0, 0, stun.MD5, 0, 0))
"""The value of PASSWORD-ALGORITHMS: what keys may be made with, the best first (RFC 8489, 14.11)."""

REMEMBERED_ACCOUNTS = 1024
_OFFER = (stun.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS)
_ALGORITHMS = {bytes((0, algorithm, 0, 0)): algorithm for algorithm in (stun.SHA256, stun.MD5)}
_USERNAME_BYTES = 513
_USERHASH_BYTES = 32
_INTEGRITY_SHA256_BYTES = 32


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

UsernameFor = Callable[[bytes], str | None]
"""Finds the username behind a USERHASH; None when no name is known to hash so."""


class Account(msgspec.Struct, frozen=True):
    """A username with the key it proved to hold, and the algorithm that makes the key of a password."""

    username: str
    key: bytes
    quota_key: bytes
    expires_at: float
    holders: tuple[bytes, ...] = ()
    algorithm: int = stun.MD5

    def __repr__(self) -> str:
        return f"Account(expires_at={self.expires_at})"


class CredentialError(Exception):
    """The request did not prove who sent it: answer with `code` (400, 401 or 438), without integrity."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Claim(msgspec.Struct, gc=False):
    """Who a request says that it comes from: by `username` or by `userhash`, the other is empty."""

    username: str
    userhash: bytes
    nonce: bytes
    algorithm: int

    @classmethod
    def read(cls, message: stun.Message) -> "Claim":
        """Read the attributes beside the integrity.

        Raises: CredentialError with 401 when the message is not signed, 400 for what is missing or malformed.
        """
        # RFC 8489, 9.2.4: the checks in this order
        if not message.is_signed:
            raise CredentialError(401, "no-integrity")
        values = message.values()
        nonce = values.get(stun.NONCE)
        if stun.REALM not in values or nonce is None:
            raise CredentialError(400, "incomplete")
        username, userhash = _identity(values)
        at = message.integrity_sha256_at
        # RFC 8489, 14.6: cut down only where a usage says so, and RFC 8656 does not
        if at >= 0 and int.from_bytes(message.raw[at + 2 : at + 4]) != _INTEGRITY_SHA256_BYTES:
            raise CredentialError(400, "malformed")
        return cls(username, userhash, nonce, _algorithm(values, nonce))


def _identity(values: dict[int, bytes]) -> tuple[str, bytes]:
    username = values.get(stun.USERNAME)
    userhash = values.get(stun.USERHASH, b"")
    if username is None:
        if stun.USERHASH not in values:
            raise CredentialError(400, "incomplete")
        if len(userhash) != _USERHASH_BYTES:
            raise CredentialError(400, "malformed")
        return "", userhash
    try:
        return stun.text(username, _USERNAME_BYTES), b""
    except stun.StunError as error:
        raise CredentialError(400, "malformed") from error


def _algorithm(values: dict[int, bytes], given: bytes) -> int:
    chosen, offered = values.get(stun.PASSWORD_ALGORITHM), values.get(stun.PASSWORD_ALGORITHMS)
    if chosen is None and offered is None:
        return stun.MD5
    algorithm = None if chosen is None else _ALGORITHMS.get(chosen)
    # RFC 8489, 9.2.4: who saw another offer than ours was lied to on the way
    if nonce.tells_password_algorithms(given) and (algorithm is None or offered != PASSWORD_ALGORITHMS):
        raise CredentialError(400, "bid-down")
    return algorithm or stun.MD5


class Credentials:
    """The long-term credential mechanism (RFC 8489, 9.2) without state before valid integrity.

    Without `username_for` nobody is told to send USERHASH, and nobody is known by it.
    """

    def __init__(self, key_for: KeyFor, realm: str, secret: bytes, username_for: UsernameFor | None = None) -> None:
        self._key_for = key_for
        self._username_for = username_for
        self._realm = realm
        self._realm_attribute = (stun.REALM, realm.encode())
        self._bare_bytes = 8 + (len(realm.encode()) + 3 & ~3) + nonce.NONCE_BYTES
        anonymity = 0 if username_for is None else nonce.USERNAME_ANONYMITY_BIT
        self._nonces = Nonces(secret, nonce.PASSWORD_ALGORITHMS_BIT | anonymity)
        self._accounts: OrderedDict[tuple[str, int], Account] = OrderedDict()
        self._usernames: dict[bytes, str] = {}

    def challenge(self, client: tuple[str, int], now: float, most_bytes: int) -> tuple[tuple[int, bytes], ...] | None:
        """Return the attributes with which this client may sign its next request, None when they do not fit.

        The nonce tells of PASSWORD-ALGORITHMS even where the attribute does not fit: if it did not, cutting a request
        short on its way would talk a client out of them.
        """
        if self._bare_bytes > most_bytes:
            return None
        given = (stun.NONCE, self._nonces.make(*client, now))
        if self._bare_bytes + 4 + len(PASSWORD_ALGORITHMS) > most_bytes:
            return self._realm_attribute, given
        return self._realm_attribute, given, _OFFER

    def is_signed_by(self, message: stun.Message, account: Account) -> bool:
        """Tell whether this account signed the message, whenever that was."""
        try:
            claim = Claim.read(message)
        except CredentialError:
            return False
        if claim.algorithm != account.algorithm or not self._is_of(claim, account.username):
            return False
        return stun.has_integrity(message, account.key)

    def is_fresh(self, message: stun.Message, client: tuple[str, int], now: float) -> bool:
        """Tell whether the nonce of the message is one that this client may use now."""
        return self._nonces.is_fresh(message.first(stun.NONCE) or b"", client, now)

    def check(self, message: stun.Message, client: tuple[str, int], now: float) -> Account:
        """Return the account that signed the request.

        Raises: CredentialError with 401, 400 or 438, and a reason for the count.
        """
        claim = Claim.read(message)
        # RFC 8489, 9.2.4 has the nonce last. It is first here, since it shows for little work that the sender's
        # address is no forgery; who is wrong in both hears of the other on the next try.
        if not self._nonces.is_fresh(claim.nonce, client, now):
            raise CredentialError(438, "stale-nonce")
        account = self._prove(message, self._username(claim), claim.algorithm)
        if account.expires_at <= now:
            raise CredentialError(401, "expired")
        self._remember(account)
        return account

    def forget(self, is_doomed: Callable[[Account], bool]) -> None:
        """Drop the remembered accounts that were revoked."""
        for account in [account for account in self._accounts.values() if is_doomed(account)]:
            del self._accounts[account.username, account.algorithm]
            self._forget_name(account.username)

    def _is_of(self, claim: Claim, username: str) -> bool:
        if not claim.userhash:
            return claim.username == username
        return self._username_for is not None and claim.userhash == stun.userhash(username, self._realm)

    def _username(self, claim: Claim) -> str:
        if not claim.userhash:
            return claim.username
        username = None
        if self._username_for is not None:
            username = self._usernames.get(claim.userhash) or self._username_for(claim.userhash)
        if username is None:
            raise CredentialError(401, "unknown-userhash")
        return username

    def _prove(self, message: stun.Message, username: str, algorithm: int) -> Account:
        known = self._accounts.get((username, algorithm))
        if known is not None and stun.has_integrity(message, known.key):
            return known
        keys = self._key_for(username)
        if keys is None:
            raise CredentialError(401, "unknown-username")
        for password in keys.passwords:
            key = stun.integrity_key(username, self._realm, password, algorithm)
            if stun.has_integrity(message, key):
                return Account(username, key, keys.quota_key, keys.expires_at, keys.holders, algorithm)
        raise CredentialError(401, "wrong-integrity")

    def _remember(self, account: Account) -> None:
        key = (account.username, account.algorithm)
        self._accounts[key] = account
        self._accounts.move_to_end(key)
        if self._username_for is not None:
            self._usernames[stun.userhash(account.username, self._realm)] = account.username
        if len(self._accounts) > REMEMBERED_ACCOUNTS:
            (username, _), _ = self._accounts.popitem(last=False)
            self._forget_name(username)

    def _forget_name(self, username: str) -> None:
        if self._username_for is not None:
            self._usernames.pop(stun.userhash(username, self._realm), None)
