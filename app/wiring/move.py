"""Bring what a service that was alone keeps in its data folder into the Redis of one with several nodes. Blocks."""

import contextlib
import time
from pathlib import Path
from typing import Final

import msgspec

from app.data_folder import load_or_create_seal_keys, open_data_folder, parse_seal_keys, served_alone
from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring import redis_start, shared_keys
from app.wiring.left_behind import CATALOG
from app.wiring.redis_start import Notice
from app.wiring.shared_keys import Files, SharedKeys
from channels.auth.seal import Seal
from channels.embedded.key_store import SqliteKeyStore
from channels.embedded.store import SqliteStore
from channels.moving import (
    Outcome,
    Seals,
    Tally,
    Verdict,
    bring_channels,
    bring_keys,
    bring_revocations,
)
from channels.redis.blocking import Blocking
from channels.redis.commands import RedisUnavailableError
from channels.redis.key_store import RedisKeyStore
from channels.redis.store import RedisStore
from channels.store import StoreUnavailableError

AGAIN: Final = "do it again: what was moved is there and is not moved twice"
_KEYS: Final = "keys.sqlite"
_SEAL: Final = "seal.key"
_PATIENCE_S: Final = 15.0  # for each answer: it is done once, and a slow disk is no reason to break it off
_REFUSED: Final = {
    "keys": "nodes share other keys, and refuse tokens that it signed",
    "session-keys": "nodes share other keys, and refuse sessions that were made with it",
    "turn.secret": "nodes share another secret, which a relay or coturn that has this one refuses",
}


class Report(msgspec.Struct, frozen=True):
    """What became of each kind; `source` is the data folder, `target` the place of Redis without its password."""

    source: str
    target: str
    is_trial: bool
    shared_keys: Tally
    revocations: Tally
    access_keys: Tally
    channels: Tally

    @property
    def kinds(self) -> dict[str, Tally]:
        """The tallies by the name of their kind."""
        kinds = ("channels", "access_keys", "revocations", "shared_keys")
        return {kind: getattr(self, kind) for kind in kinds}


def move(settings: Settings, notice: Notice, *, is_trial: bool) -> Report:
    """Bring channels, access keys, revocations, and the keys that nodes share, where these are not shared yet.

    What is in Redis stays as it is, and the data folder, too. A trial changes nothing, so the service may run.

    Raises: SettingsError, CommandError when Redis fails: part may be done then, and doing it again does the rest.
    """
    place = redis_start.places(settings)
    if place is None:
        raise SettingsError("REDIS_URL: it says where to move to; give --redis URL or HELIOGRAPH_REDIS_URL")
    folder = _served_before(settings)
    with (
        contextlib.nullcontext() if is_trial else served_alone(folder),
        contextlib.closing(_Here(folder)) as here,
        contextlib.closing(Blocking(msgspec.structs.replace(place.catalog, limit_s=_PATIENCE_S))) as server,
    ):
        redis_start.wait_for(server, notice)
        if not settings.redis_secret:
            notice(shared_keys.IN_CLEAR)
        try:
            redis_start.require_kind(server, notice)
            redis_start.require_version(server)
            redis_start.require_persistence(server, notice, allow_unsafe=settings.redis_allow_unsafe)
            return _move(here, server, settings.redis_secret, is_trial=is_trial)
        except (StoreUnavailableError, RedisUnavailableError) as error:
            raise CommandError(f"{error}; {AGAIN}", Exit.UNREACHABLE) from None


def judge_files(own: Files, found: Files | None) -> Tally:
    """Say what becomes of the keys and secrets of a data folder where nodes share `found`: all or none are taken.

    What seals access keys needs no place there: they are sealed anew.
    """
    tally = Tally()
    for name, text in own.items():
        if found is None:
            tally.note(name, Verdict(Outcome.MOVED))
        elif _has(found, name, text):
            tally.note(name, Verdict(Outcome.THERE))
        elif name != _SEAL:
            tally.note(name, Verdict(Outcome.CONFLICT, _REFUSED[name.split("/")[0]]))
    return tally


def _has(found: Files, name: str, text: str) -> bool:
    """Whether nodes accept what this key or secret made: one that signs no more may be there as its public half."""
    if "/" not in name:
        return set(text.split()) <= set(found.get(name, "").split())
    stem, suffix = name.rsplit(".", 1)
    other_half = {"pem": f"{stem}.pub", "pub": f"{stem}.pem"}.get(suffix)
    return found.get(name) == text or other_half in found


def _served_before(settings: Settings) -> Path:
    folder = settings.data_path
    try:
        is_served = any((folder / name).is_file() for name in (CATALOG, _KEYS))
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    if not is_served:
        raise SettingsError(f"DATA_DIR: {folder} has no channels and no access keys; --data-dir names another folder")
    return open_data_folder(settings)


def _move(here: "_Here", server: Blocking, secret: str, *, is_trial: bool) -> Report:
    shared = SharedKeys(server, secret)
    found, own = shared.read(), shared_keys.files_of(here.folder)
    if found is None and not is_trial:
        own = shared_keys.own_files(here.folder)
        offered = shared.offer(own)
        found = None if offered == own else offered  # another node was quicker
    revocations, keys, channels = Tally(), Tally(), Tally()
    if here.keys is not None:
        there = RedisKeyStore(server, server.settings.prefix)
        revocations = bring_revocations(here.keys, there, time.time(), is_trial=is_trial)
        keys = bring_keys(here.keys, there, _seals(here.folder, found), is_trial=is_trial)
    if here.catalog is not None:
        brought, prefix = here.catalog.every(), server.settings.prefix
        channels = server.run(lambda commands: bring_channels(brought, RedisStore(commands, prefix), is_trial=is_trial))
    return Report(
        str(here.folder), server.settings.place, is_trial, judge_files(own, found), revocations, keys, channels
    )


class _Here:
    """What a data folder has; None where it has none. Raises: SettingsError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog: SqliteStore | None = None
        self.keys: SqliteKeyStore | None = None
        try:
            if (folder / CATALOG).is_file():
                self.catalog = SqliteStore(folder / CATALOG)
            if (folder / _KEYS).is_file():
                self.keys = SqliteKeyStore(folder / _KEYS)
        except StoreUnavailableError as error:
            self.close()
            raise SettingsError(f"DATA_DIR: {error}") from None

    def close(self) -> None:
        """Close the files."""
        for each in (self.catalog, self.keys):
            if each is not None:
                each.close()


def _seals(folder: Path, found: Files | None) -> Seals:
    source = Seal(load_or_create_seal_keys(folder))
    if found is None:
        return Seals(source, source)
    return Seals(source, Seal(parse_seal_keys(found.get(_SEAL, ""), f"REDIS_URL: the {_SEAL} that nodes share")))
