"""Access keys of one process: the ring over its file, the secrets of sessions, and the watch for revocations."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.cli_token import load_keys
from app.data_folder import load_or_create_seal_keys
from app.settings import SettingsError
from channels.auth import keys, token
from channels.auth.key_ring import KeyRing
from channels.auth.seal import Seal
from channels.auth.session import Sessions
from channels.auth.token import TokenKey, TokenSettings
from channels.embedded.database import MEMORY
from channels.embedded.key_store import SqliteKeyStore
from channels.store import StoreUnavailableError

log = logging.getLogger(__name__)

WATCH_S = 0.5
_SHOWN_IDS = 20  # in a log line
_WAIT_S = 0.05  # the ring is read on the event loop; a reader waits only while another process repairs the file


class AccessOrder(msgspec.Struct, frozen=True):
    """Where access keys are kept (a path or `:memory:`), what seals them, what session secrets are derived with.

    Newest last. Without a key that seals, one is made for this process.
    """

    store: str
    seal_keys: tuple[bytes, ...]
    session_keys: tuple[TokenKey, ...]

    def __repr__(self) -> str:
        return f"AccessOrder({self.store!r}, ***)"

    @classmethod
    def in_memory(cls) -> "AccessOrder":
        """No key, and secrets that nobody had before."""
        return cls(MEMORY, (), (token.new_secret_key(),))

    @classmethod
    def in_folder(cls, folder: Path) -> "AccessOrder":
        """Those of the data folder; its secrets are made at first start. Raises: SettingsError."""
        return cls(str(folder / "keys.sqlite"), load_or_create_seal_keys(folder), load_keys(folder, keys.SESSIONS))


class AccessKeys:
    """The key ring and the sessions of one process; `signing` signs session tokens. Raises: SettingsError."""

    def __init__(
        self, order: AccessOrder, signing: TokenKey, settings: TokenSettings, timeout_s: float = _WAIT_S
    ) -> None:
        seal = Seal(order.seal_keys) if order.seal_keys else Seal.for_this_process()
        self.sessions = Sessions(order.session_keys, signing, settings)
        try:
            self._store = SqliteKeyStore(order.store, timeout_s)
        except StoreUnavailableError as error:
            raise SettingsError(
                f"DATA_DIR: {error}; --data-dir or HELIOGRAPH_DATA_DIR chooses another folder"
            ) from None
        self.ring = KeyRing(self._store, seal)

    async def watch(self, on_revoked: Callable[[frozenset[str]], None], every_s: float = WATCH_S) -> None:
        """Tell `on_revoked` what is revoked, at most `every_s` later; until cancelled."""
        trouble = None
        while True:
            revoked = self.ring.poll()
            if revoked:
                log.info("credentials revoked", extra={"count": len(revoked), "ids": sorted(revoked)[:_SHOWN_IDS]})
                on_revoked(revoked)
            if self.ring.trouble not in (None, trouble):
                log.warning("access keys cannot be read", extra={"reason": self.ring.trouble})
            trouble = self.ring.trouble
            await asyncio.sleep(every_s)

    def close(self) -> None:
        """Close the file; may be called again."""
        self._store.close()
