"""coturn by way of Redis: the secrets that it takes, and what it tells of its allocations.

The names are coturn's own, so they have no prefix of ours.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis
from redis import asyncio as redis_asyncio
from redis.asyncio.client import PubSub

from channels.redis.commands import Commands, RedisUnavailableError
from channels.redis.settings import RedisSettings

log = logging.getLogger(__name__)
Hear = Callable[[str, str], None]
"""Takes a topic and the text that was published there."""
_RETRY_S: Final = 1.0
_QUIET_S: Final = 5.0  # after so long without a message Redis is asked whether it is still there
_KINDS: Final = ("status", "traffic/peer")
# KEYS: the set. ARGV: its members.
_REPLACE: Final = """
redis.call('DEL', KEYS[1])
return redis.call('SADD', KEYS[1], unpack(ARGV))
"""


class CoturnRedis:
    """The Redis of the coturns of one realm: one server, in clear, as coturn knows no other."""

    def __init__(self, settings: RedisSettings, realm: str) -> None:
        self._settings = settings
        self._realm = realm

    async def put_secrets(self, secrets: Sequence[str]) -> None:
        """Let every coturn of the realm take credentials of these secrets and no other, as soon as Redis answers."""
        commands = Commands(self._settings)
        put = commands.script(_REPLACE)
        try:
            while True:
                try:
                    await put((f"turn/realm/{self._realm}/secret",), secrets)
                except (RedisUnavailableError, redis.RedisError) as error:
                    log.warning("coturn does not get its secrets", extra={"reason": str(error)})
                    await asyncio.sleep(_RETRY_S)
                else:
                    return
        finally:
            await commands.aclose()

    async def listen(self, hear: Hear) -> None:
        """Tell `hear` what coturn publishes, until cancelled; what it publishes while Redis is away is lost.

        A Redis that is silent and does not answer is given up after 5 s and the time limit, and connected to anew.
        """
        while True:
            try:
                await self._listen(hear)
            except (redis.RedisError, OSError) as error:
                log.warning(
                    "coturn is not heard", extra={"redis": self._settings.place, "reason": str(error) or "no answer"}
                )
            await asyncio.sleep(_RETRY_S)

    async def _listen(self, hear: Hear) -> None:
        settings = self._settings
        host, port = settings.addresses[0]
        client = redis_asyncio.Redis(
            host=host,
            port=port,
            db=settings.db,
            password=settings.password or None,
            client_name="heliograph-coturn",
            socket_connect_timeout=settings.limit_s,
            socket_timeout=None,  # each write with a limit of the library's own may lose a cancellation
        )
        topics = (f"turn/realm/{_escaped(self._realm)}/user/*/allocation/*/{kind}" for kind in _KINDS)
        async with client, client.pubsub() as pubsub:
            async with asyncio.timeout(settings.limit_s):
                await pubsub.psubscribe(*topics)
            while True:
                async with asyncio.timeout(_QUIET_S + 2 * settings.limit_s):
                    message = await self._next(pubsub)
                if message["type"] == "pmessage":
                    hear(message["channel"].decode(errors="replace"), message["data"].decode(errors="replace"))

    async def _next(self, pubsub: PubSub) -> dict[str, Any]:
        """What Redis says next, if only that it is there. Raises: TimeoutError."""
        limit_s = self._settings.limit_s
        message: dict[str, Any] | None = await pubsub.get_message(timeout=_QUIET_S)
        if message is None:
            await pubsub.ping()
            message = await pubsub.get_message(timeout=limit_s)
        if message is None:
            raise TimeoutError(f"no answer in {limit_s:g} s")
        return message


def _escaped(text: str) -> str:
    """The text itself as a pattern."""
    return re.sub(r"([*?\[\]^\\])", r"\\\1", text)
