"""Which credentials count no more although they have not expired. No I/O, no clock."""

from media.turn.credential import Account

REMEMBERED = 16_384
"""Revocations that are remembered; the oldest is forgotten long after its credentials have expired."""


class Revocations:
    """Quota keys and holders whose credentials were revoked, the newest `REMEMBERED` of each."""

    def __init__(self) -> None:
        self._keys: dict[bytes, None] = {}
        self._holders: dict[bytes, None] = {}

    def revoke(self, quota_key: bytes) -> None:
        """Remember that nothing of this quota key counts any more."""
        _remember(self._keys, quota_key)

    def revoke_holder(self, holder: bytes) -> None:
        """Remember that nothing that this holder fetched, or what came from it, counts any more."""
        _remember(self._holders, holder)

    def is_revoked(self, account: Account) -> bool:
        """Tell whether the credential of this account was revoked."""
        return account.quota_key in self._keys or not self._holders.keys().isdisjoint(account.holders)


def _remember(known: dict[bytes, None], entry: bytes) -> None:
    known.pop(entry, None)
    known[entry] = None
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
