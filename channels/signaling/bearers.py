"""Who bears which credential. A camera with a token of its own is the usual case: one bearer alone costs no table."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Bearers(Generic[T]):
    """The bearers of each credential, each once however often it is added; no I/O. They are told apart by identity."""

    def __init__(self) -> None:
        self._by_credential: dict[str, T | _Several[T]] = {}

    def __len__(self) -> int:
        """How many credentials have a bearer."""
        return len(self._by_credential)

    def add(self, credential_id: str, bearer: T) -> None:
        """Note that it bears this credential."""
        found = self._by_credential.setdefault(credential_id, bearer)
        if isinstance(found, _Several):
            found[id(bearer)] = bearer
        elif found is not bearer:
            self._by_credential[credential_id] = _Several({id(found): found, id(bearer): bearer})

    def remove(self, credential_id: str, bearer: T) -> None:
        """Note that it bears this credential no more, if it does."""
        found = self._by_credential.get(credential_id)
        if isinstance(found, _Several):
            found.pop(id(bearer), None)
            is_borne = bool(found)
        else:
            is_borne = found is not bearer
        if not is_borne:
            del self._by_credential[credential_id]

    def of(self, credential_ids: Iterable[str]) -> tuple[T, ...]:
        """Who bears one of these, each once."""
        found: dict[int, T] = {}
        for credential_id in credential_ids:
            if (bearing := self._by_credential.get(credential_id)) is None:
                continue
            found.update(bearing if isinstance(bearing, _Several) else {id(bearing): bearing})
        return tuple(found.values())


class _Several(dict[int, T]):
    """More than one bearer, or what is left of them, by identity."""

    __slots__ = ()
