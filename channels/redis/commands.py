"""Commands and scripts at Redis: each has its answer or its error within the time limit. No messages."""

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, cast

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff

from channels.redis.pipe import Pipe
from channels.redis.settings import Kind, RedisSettings
from channels.redis.wire import RefusedError

Answer = TypeVar("Answer")
Client = redis_asyncio.Redis
Word = str | bytes | int
Call = tuple[Sequence[Word], Sequence[Word]]  # keys and arguments of a script

_log: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 32  # connections; more bring no throughput
_CLOSE_S: Final = 0.2
_UNAVAILABLE: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.TryAgainError,
    exceptions.OutOfMemoryError,
    OSError,  # TimeoutError too
)
_UNAVAILABLE_WORDS: Final = (
    *("BUSY ", "MISCONF", "NOREPLICAS"),
    *("LOADING", "READONLY", "MASTERDOWN", "OOM"),  # for which redis-py has types
)
_NO_CLUSTER: Final = "Cluster mode is not enabled"  # how redis-py tells of it


class RedisUnavailableError(Exception):
    """Redis did not answer, or cannot do it now: nobody knows whether it was done. Try again later."""

    @property
    def is_final(self) -> bool:
        """Whether trying again helps nothing: it does not let us in, or is none of a Cluster where one is named."""
        return isinstance(self.__cause__, exceptions.AuthenticationError) or _NO_CLUSTER in str(self.__cause__)


class Commands:
    """The connections for all but messages: one for scripts, and up to 32 for one command at a time each."""

    def __init__(self, settings: RedisSettings) -> None:
        self.is_away = False  # known to be unreachable: nobody waits for it
        self.is_cluster = settings.kind is Kind.CLUSTER
        self._settings = settings
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._sentinel = _sentinel(settings) if settings.kind is Kind.SENTINEL else None
        self._cluster = _cluster(settings) if settings.kind is Kind.CLUSTER else None
        self._client = self._connected()
        self.pipe = None if self._cluster is not None else Pipe(settings, self.primary)

    async def call(self, do: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Await what `do` asks of the client of redis-py, within the time limit and without a second try.

        Raises: RedisUnavailableError, redis.ResponseError (the command is wrong).
        """
        return await self.within_limit(lambda: self.in_turn(do))

    async def in_turn(self, do: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """The same without a limit: of the connections of redis-py there are so many."""
        async with self._slots:
            return await do(self._client)

    async def within_limit(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Await `ask`, which asks Redis for something, within the time limit. Raises: as `call`."""
        if self.is_away:
            raise RedisUnavailableError(f"{self._settings.place} is away")
        try:
            async with asyncio.timeout(self._settings.limit_s):
                return await ask()
        except _UNAVAILABLE as error:
            raise RedisUnavailableError(self._words(error)) from error
        except (exceptions.ResponseError, RefusedError) as error:
            if str(error).startswith(_UNAVAILABLE_WORDS):
                raise RedisUnavailableError(self._words(error)) from error
            if isinstance(error, RefusedError):
                raise exceptions.ResponseError(str(error)) from error
            raise

    async def command(self, *words: Word) -> Any:
        """Do one command; texts of the reply are bytes. Raises: as `call`."""
        return await self.call(lambda client: _execute(client, *words))

    def script(self, text: str) -> "Script":
        """A Lua script that is sent in whole once, then run by its hash as long as the server knows it."""
        return Script(self, text)

    async def primary(self) -> tuple[str, int]:
        """Where the server for messages is now: that of the address, of Sentinel, or of a slot of the cluster.

        Raises: redis.ConnectionError (nobody knows one).
        """
        if self._sentinel is not None:
            host, port = await self._sentinel.discover_master(self._settings.service)
            return str(host), int(port)
        if self._cluster is not None:
            await self._cluster.initialize()
            node = self._cluster.get_node_from_key(self._settings.topic_prefix)
            if node is None:
                raise exceptions.ClusterDownError("no node of the cluster has the slot of the messages")
            return str(node.host), int(node.port)
        return self._settings.addresses[0]

    async def forget(self) -> None:
        """Close the connections that rest in the pool: they may lead nowhere."""
        await self._close(is_final=False)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._close(is_final=True)

    async def _close(self, *, is_final: bool) -> None:
        if self.pipe is not None:
            self.pipe.drop()
        try:
            async with asyncio.timeout(_CLOSE_S):
                if is_final or self._cluster is not None:
                    await self._client.aclose()
                else:
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                if is_final and self._sentinel is not None:
                    for sentinel in self._sentinel.sentinels:
                        await sentinel.aclose()
        except (OSError, exceptions.RedisError):
            _log.info("a connection to redis did not close in time")

    def _words(self, error: Exception) -> str:
        words = str(error) or f"no answer within {self._settings.limit_s:g} s"
        if _NO_CLUSTER in words:
            words = "this server is none of a Cluster: write redis:// in the place of redis+cluster://"
        return f"{self._settings.place}: {words}"

    def _connected(self) -> Client:
        settings = self._settings
        options = _options(settings)
        if self._sentinel is not None:
            client: Client = self._sentinel.master_for(settings.service, db=settings.db, **options)
            return client
        if self._cluster is not None:
            return cast(Client, self._cluster)  # it has the same commands
        if settings.socket_path:
            return Client(unix_socket_path=settings.socket_path, db=settings.db, **options)
        host, port = settings.addresses[0]
        return Client(host=host, port=port, db=settings.db, **options)


class Script:
    """A Lua script; its answers are bytes, integers, lists and None. Every call raises as `Commands.call`.

    The first call sends it in whole: to ask by its hash first costs a trip more wherever nobody has used it yet.
    """

    def __init__(self, commands: Commands, text: str) -> None:
        self._commands = commands
        self._text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._was_sent = False

    async def __call__(self, keys: Sequence[Word] = (), args: Sequence[Word] = ()) -> Any:
        """Run it once."""
        return await self._within_limit(lambda: self._run(keys, args))

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        """Run it for each of `calls` in one round trip; the answers are in their order.

        At a Cluster, where keys lie apart and pipelines take no scripts, they are asked at once.
        """
        if len(calls) < 2:
            return [await self(*call) for call in calls]
        if self._commands.is_cluster:
            return await self._ask_each(calls)
        return await self._within_limit(lambda: self._run_many(calls))

    async def _within_limit(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await self._commands.within_limit(ask)
        except RedisUnavailableError as error:
            if self._commands.pipe is not None and isinstance(error.__cause__, TimeoutError):
                self._commands.pipe.drop()  # it is silent; who waits for a connection of redis-py says nothing of it
            raise

    async def _run(self, keys: Sequence[Word], args: Sequence[Word]) -> Any:
        pipe = self._commands.pipe
        if pipe is not None and await pipe.is_ready():
            return await self._ask(pipe, keys, args)
        return await self._commands.in_turn(lambda client: self._execute(client, keys, args))

    async def _execute(self, client: Client, keys: Sequence[Word], args: Sequence[Word]) -> Any:
        if self._was_sent:
            with contextlib.suppress(exceptions.NoScriptError):
                return await _execute(client, *self._words(keys, args))
        answer = await _execute(client, *self._words(keys, args, in_whole=True))
        self._was_sent = True
        return answer

    async def _ask(self, pipe: Pipe, keys: Sequence[Word], args: Sequence[Word]) -> Any:
        if self._was_sent:
            try:
                return await pipe.ask(*self._words(keys, args))
            except RefusedError as error:
                if not _is_unknown(error):
                    raise
        answer = await pipe.ask(*self._words(keys, args, in_whole=True))
        self._was_sent = True
        return answer

    async def _run_many(self, calls: Sequence[Call]) -> list[Any]:
        pipe = self._commands.pipe
        if pipe is not None and await pipe.is_ready():
            return await self._run_all(pipe, calls)
        return await self._commands.in_turn(lambda client: self._run_all(client, calls))

    async def _run_all(self, way: Client | Pipe, calls: Sequence[Call]) -> list[Any]:
        first = self._words(*calls[0], in_whole=not self._was_sent)
        answers = await _pipelined(way, [first, *(self._words(*call) for call in calls[1:])])
        self._was_sent = True
        unknown = [index for index, answer in enumerate(answers) if _is_unknown(answer)]
        if unknown:
            again = await _pipelined(way, [self._words(*calls[index], in_whole=True) for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _ask_each(self, calls: Sequence[Call]) -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(self(keys, args)) for keys, args in calls]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [answer.result() for answer in answers]

    def _words(self, keys: Sequence[Word], args: Sequence[Word], *, in_whole: bool = False) -> tuple[Word, ...]:
        how = ("EVAL", self._text) if in_whole else ("EVALSHA", self._hash)
        return (*how, len(keys), *keys, *args)


async def _pipelined(way: Client | Pipe, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
    if isinstance(way, Pipe):
        return await way.ask_many(commands)
    pipeline = way.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    return await pipeline.execute(raise_on_error=False)


def _is_unknown(answer: object) -> bool:
    """Whether the server does not know the script."""
    is_refused = isinstance(answer, RefusedError) and str(answer).startswith("NOSCRIPT")
    return is_refused or isinstance(answer, exceptions.NoScriptError)


async def _execute(client: Client, *words: Word) -> Any:
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py leaves it without types


def _options(settings: RedisSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": settings.username or None,
        "password": settings.password or None,
        "client_name": settings.client_name,
        "protocol": 2,
        "socket_timeout": None,  # the limit is ours, around the whole call
        "socket_connect_timeout": settings.limit_s,
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.is_tls:
        options |= {
            "ssl": True,
            "ssl_ca_certs": settings.ca_file or None,
            "ssl_certfile": settings.certificate_file or None,
            "ssl_keyfile": settings.key_file or None,
        }
    return options


class _Sentinel(redis_asyncio.Sentinel):
    """Asks where the primary is; an error names what each Sentinel said, not how its client is made."""

    async def discover_master(self, service_name: str) -> Any:
        """Return host and port. Raises: MasterNotFoundError, redis.ResponseError."""
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError as error:
            reasons = ", ".join(dict.fromkeys(re.findall(r"> - \W?(?:\w+:)?(\w+Error)", str(error))))
            words = f"no Sentinel there has a primary named {service_name} that is up"
            raise MasterNotFoundError(f"{words}: {reasons}" if reasons else words) from None
        except exceptions.ResponseError as error:
            if "unknown command" in str(error):
                raise exceptions.ResponseError(f"a server there is no Sentinel: {error}") from None
            raise


def _sentinel(settings: RedisSettings) -> redis_asyncio.Sentinel:
    patience_s = settings.limit_s / 4  # the first of them may be the one that is gone
    own = {"password": settings.sentinel_password or None, "username": None}
    times = {"socket_timeout": patience_s, "socket_connect_timeout": patience_s}
    return _Sentinel(  # type: ignore[no-untyped-call]
        list(settings.addresses), sentinel_kwargs={**_options(settings), **own, **times}
    )


def _cluster(settings: RedisSettings) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in settings.addresses]
    return RedisCluster(startup_nodes=nodes, max_connections=_AT_ONCE, **_options(settings))
