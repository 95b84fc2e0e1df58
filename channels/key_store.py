"""Where access keys and revocations are kept: the interface. Implementations: `embedded/key_store.py`, later Redis.

Both only grow, so a reader that remembers how far it has read sees each change once. Secrets come and go sealed.
"""

from typing import Protocol

import msgspec

from channels.auth.grant import Statement


class SealedKey(msgspec.Struct, frozen=True):
    """An access key as it is stored; `sealed` is empty once it is revoked, or where its statements cannot be read.

    Times are in epoch seconds.
    """

    id: str
    account: str
    sealed: str
    statements: tuple[Statement, ...]
    description: str
    created_s: float
    revoked_s: float | None = None

    def __repr__(self) -> str:
        return f"SealedKey({self.id!r}, {self.account!r}, ***)"


class Cursor(msgspec.Struct, frozen=True):
    """How far a reader has read."""

    keys: int = 0
    revocations: int = 0


class Changes(msgspec.Struct, frozen=True):
    """What came after a cursor: keys that are not revoked, ids that are, and the cursor after them."""

    keys: tuple[SealedKey, ...]
    revoked: tuple[str, ...]
    cursor: Cursor


class Revocation(msgspec.Struct, frozen=True):
    """That a credential, by the id of a key, a session or a token, is no longer good; `forget_s` as in `revoke`."""

    credential_id: str
    revoked_s: float
    forget_s: float | None = None


class KeyExistsError(Exception):
    """The access key id is taken, perhaps by a key that was revoked: an id is never used again."""


class KeyStore(Protocol):
    """Access keys and revocations; an acknowledged write survives `kill -9` of the process.

    Every method raises `channels.store.StoreUnavailableError` when the store cannot answer.
    """

    def add(self, key: SealedKey) -> None:
        """Add a key. Raises: KeyExistsError."""

    def list(self, account: str | None = None) -> tuple[SealedKey, ...]:
        """All keys, or those of one account, in the order they were added; the revoked ones among them."""

    def revoke(self, credential_id: str, now_wall: float, forget_s: float | None = None) -> bool:
        """Note that a credential is no longer good, and erase its secret when it is a key; False when it was noted.

        Past `forget_s` (epoch seconds) it may be forgotten; None keeps it for ever.
        """

    def revocations(self) -> tuple[Revocation, ...]:
        """All that was revoked and is not forgotten, in that order."""

    def mark(self) -> object:
        """A value that is another one after every write, by whomever; cheap."""

    def read(self, cursor: Cursor) -> Changes:
        """What came after `cursor`."""
