"""The keys and secrets that all nodes must have in common, by way of Redis: the first node brings them, all take them.

One document holds what a data folder would: the keys that sign tokens, those that secrets of sessions and of TURN come
from, and those that seal access keys. A node copies it into the folder `shared` of its data folder at each start, and
so does the command line. With REDIS_SECRET the document is sealed; Redis and its backups then give no key away.
"""

import contextlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Final

import msgspec

from app.data_folder import load_or_create_seal_keys, load_or_create_turn_secrets
from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring.redis_start import WAIT_S, Notice, places, wait_for
from channels.auth import keys
from channels.auth.seal import Seal, SealError
from channels.auth.token import TokenKeyError
from channels.redis.blocking import Blocking
from channels.redis.commands import RedisUnavailableError
from channels.redis.failures import RedisRefusedError

FOLDER: Final = "shared"
_NAME: Final = "shared-keys"
_FILES: Final = ("keys/*.*", "session-keys/*.*", "turn.secret", "seal.key")
_NAMES: Final = re.compile(r"(keys|session-keys)/[A-Za-z0-9_-][^/\0]{0,200}|turn\.secret|seal\.key")
_COMMAND_WAIT_S: Final = 2.0
_CLEAR: Final = b"{"
_CONTEXT: Final = b"heliograph shared keys"
IN_CLEAR: Final = (
    "the keys that nodes share lie in Redis in clear; to seal them, give all nodes the same HELIOGRAPH_REDIS_SECRET "
    "of 32 characters or more"
)
Files = dict[str, str]
"""Contents by path below the folder."""
_decoder: Final = msgspec.json.Decoder(Files)


class SharedKeys:
    """The document in the Redis of the catalog; `secret` seals it, "" leaves it in clear."""

    def __init__(self, server: Blocking, secret: str) -> None:
        self._server = server
        self._name = f"{server.settings.prefix}:{_NAME}"
        self._seal = Seal([hmac.digest(secret.encode(), _CONTEXT, "sha256")]) if secret else None

    def read(self) -> Files | None:
        """Return the files of all nodes; None before the first node. Raises: SettingsError, CommandError."""
        found = self._do("GET", self._name)
        return None if found is None else self._opened(found)

    def offer(self, files: Files) -> Files:
        """Return what all nodes have: `files`, unless another node was quicker. Raises: as `read`."""
        self._do("SET", self._name, self._closed(files), "NX")
        return self.read() or files

    def put(self, files: Files) -> None:
        """Put `files` in the place of what is there; nodes take them at their next start. Raises: CommandError."""
        self._do("SET", self._name, self._closed(files))

    def _closed(self, files: Files) -> str:
        text = msgspec.json.encode(files).decode()
        return text if self._seal is None else self._seal.close(text, self._name, "")

    def _opened(self, document: bytes) -> Files:
        if document.startswith(_CLEAR):
            if self._seal is not None:
                raise SettingsError(
                    "REDIS_SECRET: the keys in Redis lie there in clear; `heliograph key share` seals them"
                )
            return _files(document)
        if self._seal is None:
            raise SettingsError("REDIS_SECRET: the keys in Redis are sealed; give the secret of the other nodes")
        try:
            return _files(self._seal.open(document.decode(), self._name, ""))
        except SealError:
            raise SettingsError("REDIS_SECRET: the keys in Redis are sealed with another one") from None

    def _do(self, *words: str) -> bytes | None:
        try:
            found: bytes | None = self._server.run(lambda commands: commands.command(*words))
        except (RedisUnavailableError, RedisRefusedError) as error:
            raise CommandError(f"the keys in Redis cannot be had: {error}", Exit.UNREACHABLE) from None
        return found


def brought(settings: Settings, folder: Path, notice: Notice | None) -> Path:
    """Return the folder with the keys that all nodes have in common, below the data folder `folder`, as they are now.

    Where Redis has none they are those that this machine had of it before, else those of the data folder, or new ones.

    Raises: SettingsError, CommandError.
    """
    copy = folder / FOLDER
    if notice is not None and not settings.redis_secret:
        notice(IN_CLEAR)
    with contextlib.closing(_opened(settings)) as server:
        wait_for(server, notice or (lambda _: None), _COMMAND_WAIT_S if notice is None else WAIT_S)
        shared = SharedKeys(server, settings.redis_secret)
        files = shared.read() or shared.offer(own_files(copy if copy.is_dir() else folder))
    _write(copy, files)
    return copy


def share(settings: Settings, folder: Path) -> Files:
    """Put the keys of the data folder in the place of those in Redis, and return them. Raises: as `brought`."""
    files = own_files(folder)
    with contextlib.closing(_opened(settings)) as server:
        SharedKeys(server, settings.redis_secret).put(files)
    return files


def _opened(settings: Settings) -> Blocking:
    found = places(settings)
    if found is None:
        raise SettingsError("REDIS_URL: without it every node has keys of its own; give --redis or CATALOG_URL")
    return Blocking(found.catalog)


def _files(text: bytes | str) -> Files:
    """Read the document; whoever can write to Redis gets no file of this machine overwritten. Raises: SettingsError."""
    try:
        files = _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise SettingsError(f"REDIS_URL: the keys in Redis cannot be read: {error}") from None
    for name in files:
        if not _NAMES.fullmatch(name):
            raise SettingsError(f"REDIS_URL: the keys in Redis have one of the name {name!r}, which is none")
    return files


def _write(folder: Path, files: Files) -> None:
    """Bring the folder in line with `files`, each whole or not at all, for the owner alone."""
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
                draft.touch(mode=0o600, exist_ok=False)
                draft.write_text(text)
                draft.rename(path)
        for path in _paths(folder):
            if str(path.relative_to(folder)) not in files:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None


def _paths(folder: Path) -> list[Path]:
    return sorted(path for pattern in _FILES for path in folder.glob(pattern) if not path.name.startswith("."))


def own_files(folder: Path) -> Files:
    """Return the keys and secrets of a data folder, made where there are none. Raises: SettingsError."""
    for kind in (keys.TOKENS, keys.SESSIONS):
        try:
            keys.load_or_create(folder, kind)
        except (TokenKeyError, OSError) as error:
            raise SettingsError(f"DATA_DIR: the {kind.folder} cannot be used: {error}") from None
    load_or_create_turn_secrets(folder)
    load_or_create_seal_keys(folder)
    return files_of(folder)


def files_of(folder: Path) -> Files:
    """Return the keys and secrets that are in a data folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in _paths(folder)}
