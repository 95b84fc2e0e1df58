"""Access keys of one process: the ring over its file, the secrets of sessions, and the watch for revocations."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from app.cli_token import load_keys
from app.data_folder import load_or_create_seal_keys
from app.settings import Settings, SettingsError
from channels.auth import keys, token
from channels.auth.key_ring import KeyRing
from channels.auth.seal import Seal
from channels.auth.session import Sessions
from channels.auth.token import TokenKey, TokenSettings
from channels.embedded.database import MEMORY
from channels.embedded.key_store import SqliteKeyStore
from channels.key_store import KeyStore
from channels.store import StoreUnavailableError

if TYPE_CHECKING:
    from channels.redis.settings import RedisSettings

log = logging.getLogger(__name__)

WATCH_S = 0.5
_SHOWN_IDS = 20  # in a log line
_WAIT_S = 0.05  # the ring is read on the event loop; a reader waits only while another process repairs the file


class AccessOrder(msgspec.Struct, frozen=True):
    """Where access keys are kept (a path or `:memory:`), what seals them, what session secrets are derived with.

    Newest last. Without a key that seals, one is made for this process. With `redis` they are kept there.
    """

    store: str
    seal_keys: tuple[bytes, ...]
    session_keys: tuple[TokenKey, ...]
    redis: "RedisSettings | None" = None

    def __repr__(self) -> str:
        return f"AccessOrder({self.store!r}, ***)"

    @classmethod
    def in_memory(cls) -> "AccessOrder":
        """No key, and secrets that nobody had before."""
        return cls(MEMORY, (), (token.new_secret_key(),))

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> "AccessOrder":
        """Those that the settings name: in Redis, else in the folder, which has the secrets. Raises: SettingsError."""
        if not (settings.redis_url or settings.catalog_url):
            return cls.in_folder(folder)
        from app.wiring.redis_start import places  # what a node that is alone does not need

        found = places(settings)
        return cls.in_folder(folder, found.catalog if found else None)

    @classmethod
    def in_folder(cls, folder: Path, redis: "RedisSettings | None" = None) -> "AccessOrder":
        """Those of the data folder, or of `redis` with the secrets of the folder, which are made at first start.

        Raises: SettingsError.
        """
        session_keys = load_keys(folder, keys.SESSIONS)
        return cls(str(folder / "keys.sqlite"), load_or_create_seal_keys(folder), session_keys, redis)


class AccessKeys:
    """The key ring and the sessions of one process; `signing` signs session tokens. Raises: SettingsError."""

    def __init__(
        self, order: AccessOrder, signing: TokenKey, settings: TokenSettings, timeout_s: float = _WAIT_S
    ) -> None:
        seal = Seal(order.seal_keys) if order.seal_keys else Seal.for_this_process()
        self.sessions = Sessions(order.session_keys, signing, settings)
        self._store = _opened(order, timeout_s)
        self._is_remote = order.redis is not None
        self.ring = KeyRing(self._store, seal, is_remote=self._is_remote)

    async def watch(self, on_revoked: Callable[[frozenset[str]], None], every_s: float = WATCH_S) -> None:
        """Tell `on_revoked` what is revoked, at most `every_s` later; until cancelled."""
        trouble = None
        while True:
            seen = await asyncio.to_thread(self.ring.look) if self._is_remote else None
            revoked = self.ring.poll(seen)
            if revoked:
                log.info("credentials revoked", extra={"count": len(revoked), "ids": sorted(revoked)[:_SHOWN_IDS]})
                on_revoked(revoked)
            if self.ring.trouble not in (None, trouble):
                log.warning("access keys cannot be read", extra={"reason": self.ring.trouble})
            trouble = self.ring.trouble
            await asyncio.sleep(every_s)

    def close(self) -> None:
        """Close file or connection; may be called again."""
        self._store.close()


class _Closing(KeyStore, Protocol):
    def close(self) -> None: ...


def _opened(order: AccessOrder, timeout_s: float) -> _Closing:
    if order.redis is not None:
        from channels.redis.blocking import Blocking  # what a node that is alone does not need
        from channels.redis.key_store import RedisKeyStore

        return RedisKeyStore(Blocking(order.redis), order.redis.prefix)
    try:
        return SqliteKeyStore(order.store, timeout_s)
    except StoreUnavailableError as error:
        raise SettingsError(f"DATA_DIR: {error}; --data-dir or HELIOGRAPH_DATA_DIR chooses another folder") from None
