"""The key files of the data folder, read again when they change: who takes another key need not stop the service."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Final

import msgspec

from channels.auth import keys
from channels.auth.session import Sessions
from channels.auth.token import TokenKeyError, TokenVerifier

LOOK_S: Final = 1.0
log = logging.getLogger(__name__)
_Stamp = frozenset[tuple[str, int, int]]


class ReloadStats(msgspec.Struct):
    """Plain counters: changes of the files that were taken over, and those that could not be used."""

    loaded: int = 0
    refused: int = 0


class KeyFiles:
    """The files of `folder` from which `verifier` and `sessions` have their keys; None has no files, and no changes."""

    def __init__(self, folder: Path | None, verifier: TokenVerifier, sessions: Sessions) -> None:
        self.stats = ReloadStats()
        self._folder = folder
        self._verifier = verifier
        self._sessions = sessions
        self._stamp = self._seen = frozenset() if folder is None else _stamp(folder)

    async def run(self, every_s: float = LOOK_S) -> None:
        """Look whether the files changed, until cancelled."""
        while self._folder is not None:
            await asyncio.sleep(every_s)
            self.look()

    def look(self) -> None:
        """Take over the files once they are other ones and stay the same for two looks: a copy comes in steps.

        What cannot be used is told in the log once, and the keys before stay.
        """
        if self._folder is None:
            return
        stamp = _stamp(self._folder)
        is_settled, self._seen = stamp == self._seen, stamp
        if stamp == self._stamp or not is_settled:
            return
        self._stamp = stamp
        try:
            tokens, secrets = (keys.load(self._folder, kind) for kind in (keys.TOKENS, keys.SESSIONS))
            self._verifier.replace_keys(tokens)
        except (TokenKeyError, OSError) as error:
            self.stats.refused += 1
            log.error("the changed keys are not used", extra={"reason": str(error)})
            return
        self._sessions.replace_keys(secrets, tokens[-1])
        self.stats.loaded += 1
        log.info("keys loaded", extra={"keys": [key.kid for key in tokens], "signs": tokens[-1].kid})


def _stamp(folder: Path) -> _Stamp:
    """What is another value when a file comes, goes, or is written or closed to others."""
    found: set[tuple[str, int, int]] = set()
    with contextlib.suppress(OSError):
        for kind in (keys.TOKENS, keys.SESSIONS):
            below = folder / kind.folder
            found.add((kind.folder, below.stat().st_mode, 0))
            for path in below.iterdir():
                if not path.name.startswith("."):
                    file = path.stat()
                    found.add((f"{kind.folder}/{path.name}", file.st_ctime_ns, file.st_size))
    return frozenset(found)
