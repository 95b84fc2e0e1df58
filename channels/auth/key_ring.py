"""The access keys that are good and the credentials that are not any more, in memory and as new as the key store.

Knows no signatures. A key made by another process is found at its first use, a revocation within one `poll`.
"""

import base64
import logging
import math
import re
import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec

from channels.auth.grant import Grant, Statement
from channels.auth.seal import Seal, SealError
from channels.errors import UnrecognizedClientException
from channels.key_store import Changes, Cursor, KeyStore, SealedKey
from channels.store import StoreUnavailableError

log = logging.getLogger(__name__)

KEY_PREFIX = "AKIA"
SESSION_PREFIX = "ASIA"
SESSION_LIMIT_S = 12 * 3600  # the longest life of a session
_ID_BYTES = 10  # 16 characters of base32
_SECRET_BYTES = 30  # 40 characters of base64
_ID = re.compile(r"[A-Z0-9]{16,128}", re.ASCII)
_SECRET = re.compile(r"[!-~]{16,128}", re.ASCII)  # 128: limit of a common device SDK


class AccessKeyError(Exception):
    """A text is no access key id or no secret; the sentence says what one looks like."""


class AccessKey(msgspec.Struct, frozen=True):
    """A long-lived key: who signs with `secret` may do in `account` what `statements` say."""

    id: str
    account: str
    secret: str
    statements: tuple[Statement, ...]
    description: str = ""
    created_s: float = 0.0

    def __repr__(self) -> str:
        return f"AccessKey({self.id!r}, {self.account!r}, ***)"

    def grant(self) -> Grant:
        """What the bearer of this key may do."""
        return Grant(
            f"key/{self.id}", self.account, self.statements, math.inf, key_id=self.id, credential_ids=(self.id,)
        )


class KeyFinder(Protocol):
    """Where access keys are looked up: the key ring. Functions in `on_removed` get the id of a key that is gone."""

    on_removed: list[Callable[[str], None]]

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key of this id that is good now."""


class KeyRingStats(msgspec.Struct):
    """Plain counters: keys and revocations read, look-ups that found none, secrets that did not open, failed reads."""

    keys: int = 0
    revocations: int = 0
    unknown: int = 0
    unsealable: int = 0
    unavailable: int = 0


class Look(msgspec.Struct, frozen=True):
    """What the store said when it was asked whether it changed: its mark and what is new, or why it does not answer."""

    mark: object = None
    changes: Changes | None = None
    trouble: str | None = None


def new_id(prefix: str) -> str:
    """Return `prefix` and 16 random characters of base32."""
    return prefix + base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode()


def new_secret() -> str:
    """Return 40 random characters of base64."""
    return base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def parse_access_key_id(text: str) -> str:
    """Return `text` when a key may be called so. Raises: AccessKeyError."""
    if not _ID.fullmatch(text):
        raise AccessKeyError("an access key id has 16 to 128 characters of A-Z and 0-9")
    if text.startswith(SESSION_PREFIX):
        raise AccessKeyError(f"ids of sessions begin with {SESSION_PREFIX}: a session cannot be stored as a key")
    return text


def parse_secret(text: str) -> str:
    """Return `text` when a key may have this secret. Raises: AccessKeyError, without the text."""
    if not _SECRET.fullmatch(text):
        raise AccessKeyError("a secret access key has 16 to 128 printable ASCII characters without spaces")
    return text


class KeyRing:
    """The keys of a store. While the store does not answer, what was read of it stays good (`trouble` says why).

    Functions in `on_removed` get the id of each key that is no longer good, before anybody asks for it again. A store
    that `is_remote` is asked by nobody who looks for a key, but for `look`, which may run in a thread.
    """

    def __init__(self, store: KeyStore, seal: Seal, *, is_remote: bool = False) -> None:
        self.stats = KeyRingStats()
        self.trouble: str | None = None
        self.on_removed: list[Callable[[str], None]] = []
        self._store = store
        self._seal = seal
        self._is_remote = is_remote
        self._keys: dict[str, AccessKey] = {}
        self._revoked: dict[str, None] = {}  # in the order in which they were read, the newest last
        self._untold: set[str] = set()
        self._cursor = Cursor()
        self._mark: object = None
        self._refresh()
        self._untold.clear()  # who is here by now came after them

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key of this id that is good now; on a miss looks once whether the store, if it is near, has a new one."""
        found = self._keys.get(access_key_id)
        if found is None and not self._is_remote and access_key_id not in self._revoked:
            self._refresh()
            found = self._keys.get(access_key_id)
        if found is None:
            self.stats.unknown += 1
        return found

    def revoked(self, most: int) -> list[str]:
        """The ids of what was revoked, the newest `most`."""
        return list(self._revoked)[-most:]

    def is_revoked(self, credential_id: str) -> bool:
        """Whether this credential, by the id of a key, a session or a token, was revoked."""
        return credential_id in self._revoked

    def admit(self, grant: Grant) -> Grant:
        """Return the grant as it is now: not revoked, and bounded by the access key that its session came from.

        Raises: UnrecognizedClientException when it or what it came from is no longer good.
        """
        for credential_id in grant.credential_ids:
            if credential_id in self._revoked:
                raise UnrecognizedClientException("the credential, or one that it was made from, was revoked")
        if grant.key_id is None or grant.token_id is None:
            return grant  # no session
        key = self.find(grant.key_id)
        if key is None:
            raise UnrecognizedClientException("the access key that this session was made from is not known here")
        if grant.account != key.account:
            raise UnrecognizedClientException("the session is of another account than its access key")
        return msgspec.structs.replace(grant, boundary=key.statements)

    def look(self) -> Look:
        """Ask the store what is new, for the next `poll`; changes nothing here. One look at a time."""
        try:
            mark = self._store.mark()
            return Look(mark, None if mark == self._mark else self._store.read(self._cursor))
        except StoreUnavailableError as error:
            return Look(trouble=str(error))

    def poll(self, seen: Look | None = None) -> frozenset[str]:
        """Take in what `look` saw, or look now; return the ids that were revoked since the last time."""
        self._refresh(seen)
        told = frozenset(self._untold)
        self._untold.clear()
        return told

    def list(self) -> tuple[SealedKey, ...]:
        """All keys in the order they were added, the revoked ones among them. Raises: StoreUnavailableError."""
        return self._store.list()

    def add(self, key: AccessKey) -> None:
        """Store a key. Raises: AccessKeyError for a wrong form, KeyExistsError, StoreUnavailableError."""
        sealed = self._seal.close(parse_secret(key.secret), parse_access_key_id(key.id), key.account)
        self._store.add(SealedKey(key.id, key.account, sealed, key.statements, key.description, key.created_s))
        self._refresh()

    def revoke(self, credential_id: str, now_wall: float) -> bool:
        """Make a key, a session or a token no longer good, with all made from it; False when it was so already.

        Raises: StoreUnavailableError.
        """
        is_session = credential_id.startswith(SESSION_PREFIX)
        forget_s = now_wall + 2 * SESSION_LIMIT_S if is_session else None  # of other tokens the end is not known
        is_new = self._store.revoke(credential_id, now_wall, forget_s)
        self._refresh()
        return is_new

    def _refresh(self, seen: Look | None = None) -> None:
        seen = self.look() if seen is None else seen
        self.trouble = seen.trouble
        if seen.trouble is not None:
            self.stats.unavailable += 1
        if seen.changes is None:
            return
        self._mark, self._cursor = seen.mark, seen.changes.cursor
        for sealed in seen.changes.keys:
            self._take(sealed)
        for credential_id in seen.changes.revoked:
            self._drop(credential_id)

    def _take(self, sealed: SealedKey) -> None:
        try:
            secret = self._seal.open(sealed.sealed, sealed.id, sealed.account)
        except SealError as error:
            self.stats.unsealable += 1
            log.error("access key cannot be used", extra={"access_key_id": sealed.id, "reason": str(error)})
            return
        self.stats.keys += 1
        self._keys[sealed.id] = AccessKey(
            sealed.id, sealed.account, secret, sealed.statements, sealed.description, sealed.created_s
        )

    def _drop(self, credential_id: str) -> None:
        self.stats.revocations += 1
        self._revoked[credential_id] = None
        self._untold.add(credential_id)
        if self._keys.pop(credential_id, None) is not None:
            for tell in self.on_removed:
                tell(credential_id)
