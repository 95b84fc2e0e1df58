"""Whether a node that starts with Redis has channels in its data folder that nobody moved there: for a notice."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from channels.embedded.store import SqliteStore
from channels.moving import Found
from channels.redis.blocking import Blocking
from channels.redis.commands import RedisUnavailableError
from channels.redis.failures import RedisRefusedError
from channels.redis.store import RedisStore
from channels.store import StoreUnavailableError

CATALOG = "catalog.sqlite"
_ADVICE_ONLY = (StoreUnavailableError, RedisUnavailableError, RedisRefusedError)


def tell(server: Blocking, folder: Path, notice: Callable[[str], None]) -> None:
    """Tell of channels that only the data folder has; the last to be moved stands for all. No start fails for it."""
    with contextlib.suppress(*_ADVICE_ONLY):
        if _is_left(server, folder / CATALOG):
            place = server.settings.place
            notice(f"the channels and access keys of {folder} are not in {place}: `heliograph move` brings them there")


def _is_left(server: Blocking, catalog: Path) -> bool:
    if not catalog.is_file():
        return False
    with contextlib.closing(SqliteStore(catalog)) as store:
        last = store.last()
    if last is None:
        return False
    asked = server.run(lambda commands: RedisStore(commands, server.settings.prefix).bring([last], is_trial=True))
    return asked == (Found(),)
