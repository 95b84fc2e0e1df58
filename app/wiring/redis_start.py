"""Settings -> where Redis is, and whether it is there and fit, before anything is served. Blocks."""

import contextlib
import time
from collections.abc import Callable
from typing import Final

import msgspec

from app.exits import CommandError, Exit
from app.settings import Settings, SettingsError
from app.wiring import left_behind
from channels.redis import mode, persistence
from channels.redis.blocking import Blocking
from channels.redis.commands import Commands, RedisUnavailableError
from channels.redis.dial import tls_context
from channels.redis.failures import RedisRefusedError
from channels.redis.settings import Kind, RedisSettings, RedisUrlError

WAIT_S: Final = 10.0
_RETRY_S: Final = 0.25
_FROM: Final = (6, 2)  # GETDEL, ZADD GT
_CLUSTER_FROM: Final = (7, 0)  # SPUBLISH
Notice = Callable[[str], None]
"""Takes a sentence for the person who starts the service."""


class RedisPlaces(msgspec.Struct, frozen=True):
    """Where the catalog is, and where presence, messages and held messages are, if not in the process; how long the
    leases of a node and of a connection last.
    """

    catalog: RedisSettings
    presence: RedisSettings | None
    node_lease_s: float
    connection_lease_s: float


def places(settings: Settings) -> RedisPlaces | None:
    """Return what the settings say of Redis; None when nothing. Raises: SettingsError, which names the setting."""
    catalog = _place(settings, "catalog_url" if settings.catalog_url else "redis_url")
    presence = _place(settings, "presence_url" if settings.presence_url else "redis_url")
    if catalog is None:
        return None
    return RedisPlaces(catalog, presence, settings.node_lease_s, settings.connection_lease_s)


def _place(settings: Settings, name: str) -> RedisSettings | None:
    url = getattr(settings, name)
    if not url:
        return None
    try:
        place = RedisSettings.parse(url)
        tls_context(place)
    except RedisUrlError as error:
        raise SettingsError(f"{name.upper()}: {error}") from None
    return msgspec.structs.replace(place, prefix=settings.redis_prefix)


def wait_for(server: Blocking, notice: Notice, limit_s: float = WAIT_S) -> None:
    """Return when Redis answers; the person is told when that is not at once.

    Raises: SettingsError when it refuses us, CommandError when it did not answer within `limit_s`.
    """
    give_up_at, is_told = time.monotonic() + limit_s, False
    while True:
        try:
            server.run(_ping)
            return
        except RedisUnavailableError as error:
            if time.monotonic() > give_up_at:
                reason = str(error).rstrip(".")
                words = f"Redis did not answer in {limit_s:g} s: {reason}; --redis or HELIOGRAPH_REDIS_URL sets it"
                raise CommandError(words, Exit.UNREACHABLE) from None
            if not is_told:
                notice(f"waiting for Redis: {error}")
                is_told = True
        except RedisRefusedError as error:
            raise SettingsError(f"REDIS_URL: {error}") from None
        time.sleep(_RETRY_S)


async def _ping(commands: Commands) -> None:
    await commands.command("PING")


def require_redis(server: Blocking, notice: Notice) -> None:
    """Return when there is a Redis that we can use, of the kind that the URL names.

    Raises: as `wait_for`, `require_kind` and `require_version`.
    """
    wait_for(server, notice)
    require_kind(server, notice)
    require_version(server)


def require_kind(server: Blocking, notice: Notice) -> None:
    """Refuse a Sentinel where the URL names a server, and tell of a node of a Cluster. Raises: SettingsError."""
    if server.settings.kind is not Kind.SERVER:
        return
    place, found = server.settings.place, ""
    with contextlib.suppress(RedisUnavailableError):  # advice, for which no start fails
        found = server.run(mode.of_server)
    if found == "sentinel":
        raise SettingsError(f"REDIS_URL: {place} is a Sentinel: write redis+sentinel://HOST:PORT/NAME_OF_THE_PRIMARY")
    if found == "cluster":
        notice(f"{place} is a node of a Cluster: write redis+cluster://, else what other nodes of it have is not found")


def require_version(server: Blocking) -> None:
    """Refuse a Redis that lacks commands we use; one that does not tell its version passes. Raises: SettingsError."""
    is_cluster, found = server.settings.kind is Kind.CLUSTER, None
    with contextlib.suppress(RedisUnavailableError):
        found = server.run(mode.oldest)
    if found is None or found >= (_CLUSTER_FROM if is_cluster else _FROM):
        return
    wanted = "7.0 or later, for a Cluster" if is_cluster else "6.2 or later (a Cluster: 7.0)"
    raise SettingsError(f"REDIS_URL: {server.settings.place} is Redis {found[0]}.{found[1]}: install {wanted}")


def prepare(settings: Settings, notice: Notice) -> None:
    """Return when all Redis of the settings answer and that of the catalog keeps what it acknowledges.

    Tells of channels in the data folder that nobody brought there.

    Raises: SettingsError, CommandError.
    """
    found = places(settings)
    if found is None:
        return
    with contextlib.closing(Blocking(found.catalog)) as server:
        require_redis(server, notice)
        require_persistence(server, notice, allow_unsafe=settings.redis_allow_unsafe)
        left_behind.tell(server, settings.data_path, notice)
    if found.presence is not None and found.presence != found.catalog:
        with contextlib.closing(Blocking(found.presence)) as server:
            require_redis(server, notice)
            _tell_of_eviction(server, notice)


def _tell_of_eviction(server: Blocking, notice: Notice) -> None:
    policy = ""
    with contextlib.suppress(RedisUnavailableError):  # advice, for which no start fails
        policy = server.run(persistence.eviction)
    if policy:
        why = "so it may drop held messages and who is connected when its memory is full"
        words = f"its maxmemory-policy is `{policy}`, {why}: set `maxmemory-policy noeviction`"
        notice(f"presence and messages are kept in {server.settings.place}, but {words}")


def require_persistence(server: Blocking, notice: Notice, *, allow_unsafe: bool) -> None:
    """Refuse a Redis that may lose the catalog, or tell the person when that is allowed. Raises: SettingsError."""
    found = server.run(persistence.troubles)
    sentence = f"the catalog is kept in {server.settings.place}, but {'; '.join(found)}"
    if not found:
        return
    if not allow_unsafe and not all(words.startswith(persistence.UNKNOWN) for words in found):
        raise SettingsError(f"REDIS_URL: {sentence}; or allow it with --redis-allow-unsafe")
    notice(sentence)
