"""Remembers what probes found, in a file of the user; whatever is wrong with that file, it is as if there were none."""

import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from media.encoders.backends import BY_NAME
from media.encoders.finding import Finding

log = logging.getLogger(__name__)

NAME = "encoders.json"


class Kept(msgspec.Struct, frozen=True):
    """Content of the file; it is worth nothing when the fingerprint is another."""

    fingerprint: str
    findings: tuple[Finding, ...]


class Cache:
    """Keeps findings in the first of some folders that can be written; in none when none can."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def load(self, fingerprint: str) -> dict[str, Finding]:
        """What is remembered of this machine as it is now, by name."""
        for folder in self._folders:
            try:
                kept = msgspec.json.decode((folder / NAME).read_bytes(), type=Kept)
            except (OSError, ValueError, RecursionError):
                continue
            if kept.fingerprint == fingerprint:
                return {finding.name: finding for finding in kept.findings if finding.name in BY_NAME}
        return {}

    def store(self, fingerprint: str, findings: Iterable[Finding]) -> Path | None:
        """Remember findings instead of all before; the path, None when no folder can be written."""
        data = msgspec.json.encode(Kept(fingerprint, tuple(findings)))
        for folder in self._folders:
            try:
                return _write(folder, data)
            except OSError as error:
                log.debug("encoders not remembered", extra={"folder": str(folder), "reason": str(error)})
        return None


def _write(folder: Path, data: bytes) -> Path:
    """Write so that a crash leaves the file before or the one after."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder / f".{NAME}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        draft.write_bytes(data)
        return draft.replace(folder / NAME)
    finally:
        draft.unlink(missing_ok=True)
