"""The number of a process slot and its token in the data folder, so that a process is the same one after a restart.

One file for each HTTP port; the process that has it open has it locked, so that two never show one token.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from app.data_folder import TakenError, UnlockableError, open_locked
from app.settings import SettingsError
from channels.owners import Wish

FOLDER: Final = "slots"
_BYTES: Final = 4096
log = logging.getLogger(__name__)


class _Remembered(msgspec.Struct, frozen=True):
    number: int
    token: str


_decode: Final = msgspec.json.Decoder(_Remembered).decode
_encode: Final = msgspec.json.Encoder().encode


class SlotMemory:
    """What one process remembers; without a file nothing. `index` is its first wish.

    `trouble` is why there is no file, in words for the operator; none where another process has it, as it may.
    """

    def __init__(self, descriptor: int | None, index: int = 0, trouble: str = "") -> None:
        self._descriptor = descriptor
        self._index = index
        self._trouble = trouble

    def wish(self, slot: str) -> Wish:
        """Return the number to ask for: `slot`, which it then must be, else the one it had."""
        had = self._read()
        if not slot:
            return Wish(had.number, token=had.token) if had else Wish(self._index)
        number = int(slot)
        return Wish(number, is_fixed=True, token=had.token if had and had.number == number else "")

    def remember(self, number: int | None, token: str) -> None:
        """Keep a new number; without it the process has another one after its next start."""
        if self._trouble:
            log.warning("the slot cannot be remembered", extra={"reason": self._trouble})
            self._trouble = ""  # told once
        if self._descriptor is None or number is None:
            return
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _encode(_Remembered(number, token)), 0)
        except OSError as error:  # the disk is full
            log.warning("the slot cannot be remembered", extra={"reason": error.strerror})

    def _read(self) -> _Remembered | None:
        if self._descriptor is None:
            return None
        try:
            return _decode(os.pread(self._descriptor, _BYTES, 0))
        except msgspec.DecodeError:  # it is new, or was cut off while it was written
            return None


@contextlib.contextmanager
def opened(data_folder: Path, port: int, index: int = 0) -> Iterator[SlotMemory]:
    """Give the memory of the process that was told to have this HTTP port, which comes with `index` in its group; with
    port 0, for any, the index alone tells it from others.

    Raises: SettingsError when the folder cannot be used.
    """
    folder = data_folder / FOLDER
    path = folder / (f"{port}.json" if port else f"any-{index}.json")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    descriptor, trouble = None, ""
    try:
        descriptor = open_locked(path)
    except TakenError:
        pass  # by a process that goes by the same name: the first one has it
    except UnlockableError as error:
        trouble = f"{path} cannot be locked: {error}"
    try:
        yield SlotMemory(descriptor, index, trouble)
    finally:
        if descriptor is not None:
            os.close(descriptor)
