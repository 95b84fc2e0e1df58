"""This node's link to Redis: commands, and a publisher and a subscriber that are supervised.

A heartbeat to ourselves proves publisher, server, subscription and reader at once; when it stays away both connections
are dropped hard, since a server that is frozen, or a network that swallows, says nothing.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Final

from redis import exceptions

from channels.redis.commands import Commands
from channels.redis.commands import RedisUnavailableError as RedisUnavailableError
from channels.redis.dial import Dialer, encode
from channels.redis.settings import RedisSettings
from channels.redis.wire import Post, RefusedError, Wire, WireStats

Take = Callable[[bytes], None]

_log: Final = logging.getLogger(__name__)
_LEAVE_S: Final = 0.5
_STEADY_BEATS: Final = 3  # a connection that lived this long does not count as a failed attempt


class LinkStats(WireStats):
    """What operators watch; seconds where the name ends in `_s`."""

    reconnects: int = 0
    failed_attempts: int = 0
    watchdog_drops: int = 0
    gap_s: float = 0.0  # without a subscription, in total: what was published to us then is lost
    lag_s: float = 0.0  # of the latest heartbeat, through Redis and back


class Link(Commands):
    """The link of one node. `run` supervises the connections for messages; commands go without it."""

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(settings)
        self.on_epoch: list[Callable[[], None]] = []  # called after each (re)connect, from the loop
        self.on_unheard: Callable[[str, bytes], None] | None = None  # with topic and payload of a post
        self.epoch = 0
        self.prefix = settings.prefix
        self.topic_prefix = settings.topic_prefix
        self.limit_s = settings.limit_s
        self.stats = LinkStats()
        self.up = asyncio.Event()
        self.publisher: Wire | None = None
        self.publish_word = "SPUBLISH" if self.is_cluster else "PUBLISH"
        self._subscriber: Wire | None = None
        self._wires: list[Wire] = []
        self._dialer = Dialer(settings)
        self._heartbeat = f"{self.topic_prefix}heartbeat:{uuid.uuid4().hex}".encode()
        self._topics: dict[bytes, Take] = {self._heartbeat: self._heard}
        self._news = asyncio.Event()  # a heartbeat came, or a connection ended
        self._has_ended = False
        self._opened_at = self._heard_at = 0.0
        self._red_since: float | None = time.monotonic()
        self._trouble = ""

    @property
    def is_up(self) -> bool:
        """Whether messages go out and come in, as far as we know."""
        return self.up.is_set()

    @property
    def red_s(self) -> float:
        """For how many seconds messages are known not to go; 0.0 when they do."""
        return 0.0 if self._red_since is None else time.monotonic() - self._red_since

    async def run(self) -> None:
        """Connect, subscribe, watch, and again, until cancelled."""
        settings = self._settings
        backoff_s = settings.backoff_s
        try:
            while True:
                if await self._connect():
                    began = time.monotonic()
                    await self._watch()
                    if time.monotonic() - began > _STEADY_BEATS * settings.heartbeat_s:
                        backoff_s = settings.backoff_s
                await self.forget()
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load, hides nothing
                backoff_s = min(2 * backoff_s, settings.backoff_limit_s)
        finally:
            await self._leave()

    async def subscribe(self, topic: bytes, take: Take) -> None:
        """Call `take` for what comes to `topic` from now on, or from when the link is up.

        Raises: RefusedError (Redis does not allow it).
        """
        self._topics[topic] = take
        await self._tell("SUBSCRIBE", topic)

    async def unsubscribe(self, topic: bytes) -> None:
        """Stop that, and take what comes until Redis says that it has; twice is harmless."""
        if topic in self._topics:
            try:
                await self._tell("UNSUBSCRIBE", topic)
            finally:
                self._topics.pop(topic, None)

    async def _tell(self, word: str, topic: bytes) -> None:
        if self._subscriber is None:
            return  # told with the next connection
        try:
            async with asyncio.timeout(self.limit_s):
                await self._subscriber.send(self._encode(word, topic))
        except OSError:
            _log.debug("redis did not take %s: it is told again with the next connection", word)

    def _encode(self, word: str, topic: bytes) -> bytes:
        return encode(f"S{word}" if self.is_cluster else word, topic)

    async def _connect(self) -> bool:
        try:
            async with asyncio.timeout(self.limit_s):
                await self._open()
        except (OSError, RefusedError, exceptions.RedisError, exceptions.RedisClusterException) as error:
            self.stats.failed_attempts += 1
            self.is_away = True
            self._drop(str(error) or f"no answer within {self.limit_s:g} s")
            return False
        self._rise()
        return True

    async def _open(self) -> None:
        address = None if self._settings.socket_path else await self.primary()
        self._opened_at, self._has_ended = time.monotonic(), False
        self._news.clear()
        for name in ("publisher", "subscriber"):
            self._wires.append(await self._dialer.open(address, name, self))
        publisher, subscriber = self._wires
        done: set[bytes] = set()
        while missing := self._topics.keys() - done:
            replies = [subscriber.send(self._encode("SUBSCRIBE", topic)) for topic in missing]
            await asyncio.wait(replies)
            for reply in replies:
                reply.result()
            done |= missing
        self._subscriber = subscriber
        self._send_beat(publisher)
        await self._news.wait()
        if self._has_ended:
            raise ConnectionResetError("Redis closed the connection")
        self.publisher = publisher

    def _rise(self) -> None:
        now = time.monotonic()
        if self.epoch:
            self.stats.reconnects += 1
            self.stats.gap_s += self.red_s
        self.epoch += 1
        self.is_away, self._red_since, self._trouble, self._heard_at = False, None, "", now
        self.up.set()
        _log.info("redis is there", extra={"redis": self._settings.place, "epoch": self.epoch})
        for tell in self.on_epoch:
            try:
                tell()
            except Exception:  # noqa: BLE001  # what somebody else does about it must not end the link
                _log.exception("a task after a new connection to redis failed")

    async def _watch(self) -> None:
        """Return when the connections have ended or were dropped."""
        settings, silent_s = self._settings, 0.0
        while silent_s < settings.watchdog_s:
            began = time.monotonic()
            wait_s = min(settings.heartbeat_s, settings.watchdog_s - silent_s)
            if await self._ends_within(wait_s):
                self._drop("Redis closed the connection")
                return
            # However late we wake, this was one wait: a process that was stopped itself blames nobody.
            is_heard = self._heard_at >= began
            silent_s = min(time.monotonic() - self._heard_at, wait_s) if is_heard else silent_s + wait_s
            if self.publisher is not None:
                self._send_beat(self.publisher)
        self.stats.watchdog_drops += 1
        self.stats.gap_s += silent_s
        self._drop(f"no heartbeat for {silent_s:g} s")

    async def _ends_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                while not self._has_ended:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _leave(self) -> None:
        publisher = self.publisher
        wires = self._let_go()
        try:
            if publisher is not None:
                async with asyncio.timeout(_LEAVE_S):
                    await publisher.send(encode("PING"))  # answered after all that was posted
        except (OSError, RefusedError):
            _log.info("redis may not have read what was sent last")
        for wire in wires:
            wire.abort()

    def _drop(self, why: str) -> None:
        """Abort both connections, which lets nobody wait: a graceful end would."""
        for wire in self._let_go():
            wire.abort()
        if why != self._trouble:  # once, not with every attempt
            self._trouble = why
            _log.warning("redis is away", extra={"redis": self._settings.place, "reason": why})

    def _let_go(self) -> list[Wire]:
        wires, self._wires = self._wires, []
        self.publisher = self._subscriber = None
        if self.is_up:
            self.up.clear()
            self._red_since = time.monotonic()
        return wires

    def _send_beat(self, publisher: Wire) -> None:
        publisher.send(encode(self.publish_word, self._heartbeat, b"%.6f" % time.monotonic()))

    def _heard(self, payload: bytes) -> None:
        sent_at = float(payload)
        if sent_at >= self._opened_at:  # an earlier one may have been stuck in a server that was frozen
            self._heard_at = time.monotonic()
            self.stats.lag_s = self._heard_at - sent_at
            self._news.set()

    def unheard(self, post: Post) -> None:
        """Tell whoever wants to know of a post that surely reached nobody."""
        if self.on_unheard is not None:
            self.on_unheard(*post)

    def ended(self) -> None:
        """One of the two connections is lost."""
        self._has_ended = True
        self._news.set()

    def received(self, topic: bytes, payload: bytes) -> None:
        """Hand a message to whoever subscribed to its topic."""
        take = self._topics.get(topic)
        if take is None:
            return  # unsubscribed a moment ago
        try:
            take(payload)
        except Exception:  # noqa: BLE001  # one message that its receiver cannot bear must not cost the connection
            _log.exception("a receiver of messages failed")
