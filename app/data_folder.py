"""The data folder: private to its user, one service at a time, home of the TURN secret and of the key that seals."""

import contextlib
import fcntl
import importlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from app.settings import Settings, SettingsError

_LOCK = "serve.lock"
_TURN_SECRET = "turn.secret"  # noqa: S105  # the name of the file
_TURN_SECRET_BYTES = 32
_SEAL = "seal.key"
_SEAL_BYTES = 32
_CHOOSE = "choose another folder with --data-dir or HELIOGRAPH_DATA_DIR"


def open_data_folder(settings: Settings) -> Path:
    """Make the data folder with mode 0700 when it is not there and return it.

    Raises: SettingsError when it cannot be made or others may enter it.
    """
    folder = settings.data_path
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode & 0o777
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {_trouble(folder, error)}; {_CHOOSE}") from None
    if mode & 0o077:
        raise SettingsError(f"DATA_DIR: others may enter {folder} (mode {mode:o}); run: chmod 700 {folder}")
    return folder


def keys_folder(settings: Settings, notice: Callable[[str], None] | None = None) -> Path:
    """Return where keys and secrets are: the data folder, or in it a copy of those that all nodes share through Redis.

    A service that starts gives `notice`, which hears of what it waits for; commands do not wait for long.

    Raises: SettingsError, CommandError when Redis does not answer.
    """
    folder = open_data_folder(settings)
    if not (settings.redis_url or settings.catalog_url):
        return folder
    found: Path = importlib.import_module("app.wiring.shared_keys").brought(settings, folder, notice)
    return found


def _trouble(folder: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return f"{folder} is a file, not a folder"
    if isinstance(error, NotADirectoryError):
        return f"{folder} lies inside a file, not a folder"
    return f"the folder {folder} cannot be made or used ({(error.strerror or 'unknown reason').lower()})"


class TakenError(Exception):
    """Another process has the file locked."""


class UnlockableError(Exception):
    """The file system has no locks, as some network ones; the text is the reason."""


def open_locked(path: Path) -> int:
    """Open a file of the data folder, made with mode 0600 where there is none, and lock it; return its descriptor.

    The lock lasts until that is closed or the process ends, however it ends; processes that we start do not inherit it.

    Raises: SettingsError when it cannot be opened, TakenError, UnlockableError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {path} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise TakenError from None
        raise UnlockableError(error.strerror) from None
    return descriptor


@contextlib.contextmanager
def served_alone(folder: Path) -> Iterator[None]:
    """Keep every other `serve` off the folder while the block runs; the lock ends with its process, however that ends.

    Who is connected is known to one process only: a second one on the same catalog would have masters and viewers
    that never meet, and would not hear of a deleted channel.

    Raises: SettingsError when another process serves the folder.
    """
    path = folder / _LOCK
    try:
        descriptor = open_locked(path)
    except TakenError:
        process = path.read_text()[:20].strip() or "unknown"
        raise SettingsError(
            f"DATA_DIR: another `heliograph serve` (process {process}) uses {folder}; stop it, or {_CHOOSE}"
        ) from None
    except UnlockableError as error:
        raise SettingsError(f"DATA_DIR: {path} cannot be locked: {error}") from None
    with os.fdopen(descriptor, "w") as file:
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def load_or_create_turn_secrets(folder: Path) -> tuple[bytes, ...]:
    """Return the TURN secrets of the data folder, made at first start with mode 0600.

    Each line of the file is one, the key its text itself, as coturn's `static-auth-secret` takes it; the last signs,
    all are accepted. Of processes that start at once one makes the file; all get the same. Raises: SettingsError.
    """
    path = folder / _TURN_SECRET
    try:
        if not path.exists():
            _create(path)
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {path} cannot be used: {error.strerror}") from None
    return read_turn_secrets(folder)


def read_turn_secrets(folder: Path) -> tuple[bytes, ...]:
    """Return the TURN secrets of a data folder that was served before, the newest last. Raises: SettingsError."""
    path = folder / _TURN_SECRET
    try:
        found = tuple(line.strip() for line in path.read_bytes().splitlines() if line.strip())
    except FileNotFoundError:
        raise SettingsError(f"DATA_DIR: {folder} holds no TURN secret: no server was started on it yet") from None
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {path} cannot be used: {error.strerror}") from None
    if not found or any(len(secret) < _TURN_SECRET_BYTES for secret in found):
        raise SettingsError(f"DATA_DIR: {path} has a line shorter than {_TURN_SECRET_BYTES} characters; remove it")
    return found


def load_or_create_seal_keys(folder: Path) -> tuple[bytes, ...]:
    """Return what seals the secrets of access keys in the data folder, made at first start with mode 0600.

    Each line of the file is one key, 64 hexadecimal digits; the last seals, all open. Raises: SettingsError.
    """
    path = folder / _SEAL
    try:
        if not path.exists():
            _create(path)
        text = path.read_text(errors="replace")
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {path} cannot be used: {error.strerror}") from None
    return parse_seal_keys(text, f"DATA_DIR: {path}")


def parse_seal_keys(text: str, where: str) -> tuple[bytes, ...]:
    """Return the keys that `text` has, one a line; an error begins with `where`. Raises: SettingsError."""
    try:
        keys = tuple(bytes.fromhex(line) for line in text.split())
    except ValueError:
        keys = ()
    if not keys or any(len(key) != _SEAL_BYTES for key in keys):
        raise SettingsError(f"{where} must have lines of {2 * _SEAL_BYTES} hexadecimal digits")
    return keys


def _create(path: Path) -> None:
    """Write a secret so that a crash leaves all of it or nothing, and one that is there by now stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(_TURN_SECRET_BYTES)}\n")  # a line, so that more can be appended
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was quicker
            os.link(draft, path)
    finally:
        draft.unlink()
