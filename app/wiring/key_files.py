"""The key files of the data folder, read again when they change: who takes another key need not stop the service."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from channels.auth import keys
from channels.auth.session import Sessions
from channels.auth.token import TokenKey, TokenKeyError, TokenVerifier

LOOK_S: Final = 1.0
log = logging.getLogger(__name__)
_Stamp = frozenset[tuple[str, int, int, int]]


class ReloadStats(msgspec.Struct):
    """Plain counters: changes of the files that were taken over, and those that could not be used."""

    loaded: int = 0
    refused: int = 0


class KeyFiles:
    """The files of `folder` from which `verifier` and `sessions` have their keys; None has no files, and no changes.

    `keys` are those of tokens that were read at the start. What changed since then is taken over at the first looks.
    """

    def __init__(
        self, folder: Path | None, keys: Sequence[TokenKey], verifier: TokenVerifier, sessions: Sessions
    ) -> None:
        self.stats = ReloadStats()
        self._folder = folder
        self._verifier = verifier
        self._sessions = sessions
        self._known = [key.kid for key in keys]
        self._stamp: _Stamp | None = None  # of the files that were taken over
        self._seen: _Stamp | None = None

    async def run(self, every_s: float = LOOK_S) -> None:
        """Look whether the files changed, until cancelled."""
        while self._folder is not None:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Take over the files once they are other ones and stay the same for two looks: a copy comes in steps.

        What cannot be used is told in the log once, and the keys before stay.
        """
        if self._folder is None:
            return
        stamp = await asyncio.to_thread(_stamp, self._folder)  # disks may hang
        is_settled, self._seen = stamp == self._seen, stamp
        if stamp == self._stamp or not is_settled:
            return
        is_first, self._stamp = self._stamp is None, stamp
        try:
            tokens, secrets = await asyncio.to_thread(_load, self._folder)
            self._verifier.replace_keys(tokens)
        except (TokenKeyError, OSError) as error:
            self.stats.refused += 1
            log.error("the changed keys are not used", extra={"reason": str(error)})
            return
        self._sessions.replace_keys(secrets, tokens[-1])
        before, self._known = self._known, [key.kid for key in tokens]
        if is_first and self._known == before:
            return
        self.stats.loaded += 1
        log.info("keys loaded", extra={"keys": self._known, "signs": tokens[-1].kid})


def _load(folder: Path) -> tuple[tuple[TokenKey, ...], tuple[TokenKey, ...]]:
    """The keys of tokens and those of sessions, the newest last. Raises: TokenKeyError, OSError."""
    return keys.load(folder, keys.TOKENS), keys.load(folder, keys.SESSIONS)


def _stamp(folder: Path) -> _Stamp:
    """What is another value when a file comes, goes, or is written or closed to others."""
    found: set[tuple[str, int, int, int]] = set()
    with contextlib.suppress(OSError):
        for kind in (keys.TOKENS, keys.SESSIONS):
            below = folder / kind.folder
            for path in (below, *below.iterdir()):
                if not path.name.startswith("."):
                    file = path.stat()
                    found.add((str(path), file.st_mode, file.st_ctime_ns, file.st_size))
    return frozenset(found)
