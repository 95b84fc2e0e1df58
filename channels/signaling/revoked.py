"""What ended a moment ago: whoever was let through just before must not come in just after, nor by an old ticket.
No I/O."""

from typing import Final

from channels.errors import UnrecognizedClientException

_KEPT_S: Final = 60.0  # longer than from an authentication to the admission, with a ticket between (30 s)


class Ended:
    """The ids that ended within the last minute; what ended before is no longer let through anyway."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, name: str) -> bool:
        return name in self._until

    def add(self, ids: frozenset[str], now: float) -> None:
        """These ended at `now`."""
        self._until.update(dict.fromkeys(ids, now + _KEPT_S))

    def tidy(self, now: float) -> None:
        """Forget what is over at `now`."""
        self._until = {name: until for name, until in self._until.items() if until > now}


class Revoked(Ended):
    """Credentials that were revoked."""

    def refuse(self, credential_ids: tuple[str, ...]) -> None:
        """Raises: UnrecognizedClientException when one of these was revoked."""
        if not self._until.keys().isdisjoint(credential_ids):
            raise UnrecognizedClientException("the credential was revoked")
