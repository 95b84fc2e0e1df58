"""Keys in a folder: one file per key, made at first start, private to the user who runs the service.

    NAME.pem      private key, signs and verifies; P-256, Ed25519 or RSA
    NAME.secret   shared secret for HS256, 32 bytes at least, as text
    NAME.pub      public key, only verifies

The name is the kid. Of the keys that sign, the one that comes last by name signs; ours begin with the date. The folder
`keys` signs tokens; from those of `session-keys`, which are all shared secrets, the secrets of sessions are derived.
"""

import datetime
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from channels.auth.token import (
    TokenKey,
    TokenKeyError,
    new_es256_key,
    new_secret_key,
    private_key,
    public_key,
    secret_key,
)

_LOCK = ".lock"
_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_READ: dict[str, Callable[[str, bytes], TokenKey]] = {
    ".pub": public_key,
    ".pem": private_key,
    ".secret": lambda kid, data: secret_key(kid, data.strip()),
}


class Kind(msgspec.Struct, frozen=True):
    """What the keys of one folder are for: which files may be there, and the first key with the ending of its file."""

    folder: str
    suffixes: tuple[str, ...]
    make: Callable[[], TokenKey]
    suffix: str


TOKENS = Kind("keys", tuple(_READ), new_es256_key, ".pem")
SESSIONS = Kind("session-keys", (".secret",), new_secret_key, ".secret")


def load_or_create(data_folder: Path, kind: Kind = TOKENS) -> tuple[TokenKey, ...]:
    """Return the keys of this kind in the data folder, the one to sign with last.

    The first of any processes that start at once makes a key when none signs; all get the same keys.

    Raises: TokenKeyError with the file that is wrong and what to do, OSError when the folder cannot be used.
    """
    folder = data_folder / kind.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_open(folder, _OTHERS, "700")
    keys = _load(folder, kind)
    if _signs(keys):
        return keys
    with _locked(folder):
        keys = _load(folder, kind)  # another process may have been quicker
        if not _signs(keys):
            _create(folder, kind)
            keys = _load(folder, kind)
    return keys


def load(data_folder: Path, kind: Kind = TOKENS) -> tuple[TokenKey, ...]:
    """Return the keys of this kind that are there now, the one to sign with last; makes none.

    Raises: as `load_or_create`, also where none signs.
    """
    folder = data_folder / kind.folder
    _refuse_open(folder, _OTHERS, "700")
    keys = _load(folder, kind)
    if not _signs(keys):
        raise TokenKeyError(f"{folder} has no key that signs")
    return keys


def _signs(keys: tuple[TokenKey, ...]) -> bool:
    return bool(keys) and keys[-1].private is not None


def _load(folder: Path, kind: Kind) -> tuple[TokenKey, ...]:
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    keys = [_read(path, kind) for path in paths]
    return tuple(sorted(keys, key=lambda key: key.private is not None))  # stable: by name within each kind


def _read(path: Path, kind: Kind) -> TokenKey:
    if path.suffix not in kind.suffixes:
        raise TokenKeyError(f"{path} is no key: keys end in {', '.join(kind.suffixes)}; move it elsewhere")
    read = _READ[path.suffix]
    if path.suffix == ".pub":
        _refuse_open(path, _OTHERS_WRITE, "644")
    else:
        _refuse_open(path, _OTHERS, "600")
    try:
        return read(path.stem, path.read_bytes())
    except TokenKeyError as error:
        raise TokenKeyError(f"{path}: {error}") from None


def _refuse_open(path: Path, forbidden: int, wanted: str) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & forbidden:
        what = "write" if forbidden == _OTHERS_WRITE else "read or change"
        raise TokenKeyError(f"others may {what} {path} (mode {mode:o}); run: chmod {wanted} {path}")


def _create(folder: Path, kind: Kind) -> None:
    """Write a key so that a crash leaves all of it or nothing."""
    key = kind.make()
    key = msgspec.structs.replace(key, kid=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{key.kid[:8]}")
    draft = folder / f".draft.{os.getpid()}"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private or b"")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / f"{key.kid}{kind.suffix}")
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock ends with its process."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
