"""One connection on which many scripts are under way at once: written together, at a quarter of redis-py's cost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from redis import exceptions

from channels.redis.dial import Address, Dialer, encode
from channels.redis.settings import RedisSettings
from channels.redis.wire import Post, RefusedError, Reply, Wire, WireStats


class Pipe:
    """Opened when somebody needs it, and again after it was lost; not for Redis Cluster, where keys lie apart."""

    def __init__(self, settings: RedisSettings, find: Callable[[], Awaitable[Address]]) -> None:
        self.stats = WireStats()
        self._settings = settings
        self._find = find
        self._dialer = Dialer(settings)
        self._wire: Wire | None = None
        self._is_opening = False

    async def is_ready(self) -> bool:
        """Whether `ask` has a connection with room; the first who asks opens it, the others need not wait for it.

        Raises: OSError, redis.RedisError (nobody knows where Redis is, or it does not let us in).
        """
        if self._wire is None and not self._is_opening:
            self._is_opening = True
            try:
                self._wire = await self._open()
            finally:
                self._is_opening = False
        return self._wire is not None and self._wire.has_room

    async def ask(self, *words: str | bytes | int) -> Reply:
        """The answer to a command. Raises: RefusedError (Redis says no), ConnectionError (the connection is lost)."""
        if self._wire is None:
            raise ConnectionResetError("the connection to Redis is lost")
        return await self._wire.send(encode(*words))

    async def ask_many(self, commands: Iterable[Sequence[str | bytes | int]]) -> list[Reply | RefusedError]:
        """The answers to commands that leave together; a refusal stands in its place.

        Raises: ConnectionError (the connection is lost).
        """
        if self._wire is None:
            raise ConnectionResetError("the connection to Redis is lost")
        replies = [self._wire.send(encode(*words)) for words in commands]
        await asyncio.wait(replies)
        return [_outcome(reply) for reply in replies]

    def drop(self) -> None:
        """End the connection, whatever is under way on it: it may lead nowhere. Twice is harmless."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    async def _open(self) -> Wire:
        address = None if self._settings.socket_path else await self._find()
        try:
            wire = await self._dialer.open(address, "scripts", self)
            try:
                if self._settings.db:
                    await wire.send(encode("SELECT", self._settings.db))
            except BaseException:
                wire.abort()
                raise
        except RefusedError as error:  # too many clients, another password, a replica now: no fault of what is asked
            raise exceptions.ConnectionError(str(error)) from error
        if not wire.has_room:  # it has ended already, and nobody would say so again
            raise ConnectionResetError("the connection to Redis is lost")
        return wire

    # What the wire asks for

    def received(self, topic: bytes, payload: bytes) -> None:
        """Nothing is subscribed here."""

    def unheard(self, post: Post) -> None:
        """Nothing is published here."""

    def ended(self) -> None:
        """The connection is lost: the next one who asks opens another."""
        self._wire = None


def _outcome(reply: asyncio.Future[Reply]) -> Reply | RefusedError:
    error = reply.exception()
    return error if isinstance(error, RefusedError) else reply.result()
