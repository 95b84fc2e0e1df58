"""Bus over Redis: PUBLISH and SUBSCRIBE."""

import asyncio
from collections.abc import Sequence
from typing import Final

from channels.bus import BusUnavailableError, Receive, Unheard
from channels.redis.link import Link
from channels.redis.wire import RefusedError

_HEADS: Final = 1024  # topics whose command is kept encoded: nodes come and go


class RedisBus:
    """One node's end of the bus; `link.run` has to run. Topics begin with the prefix of the link in Redis."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._heads: dict[str, bytes] = {}

    async def publish(self, topic: str, payload: bytes) -> int:
        """Send `payload`; the answer is how many nodes Redis gave it to.

        Raises: BusUnavailableError (no link, no room, or no answer within the time limit of the link).
        """
        wire = self._link.publisher
        if wire is None or not wire.has_room:
            raise BusUnavailableError("there is no link to Redis now" if wire is None else "Redis takes no more now")
        try:
            async with asyncio.timeout(self._link.limit_s):
                reached = await wire.send(self._command(topic, payload))
        except (OSError, RefusedError) as error:
            raise BusUnavailableError(str(error) or f"no answer within {self._link.limit_s:g} s") from error
        return reached if isinstance(reached, int) else 0

    def post(self, topic: str, payload: bytes) -> None:
        """Send `payload` soon and ask no more; what is lost is in the statistics of the link."""
        self.post_all([(topic, payload)])

    def post_all(self, posts: Sequence[tuple[str, bytes]]) -> None:
        """Post each of these; they leave in one write."""
        wire = self._link.publisher
        if wire is None or not wire.post([self._command(topic, payload) for topic, payload in posts], posts):
            self._link.stats.posts_unsent += len(posts)
            for post in posts:
                self._link.unheard(post)

    def on_unheard(self, listen: Unheard) -> None:
        """Call `listen` for each posted payload that no node had subscribed to, or that never left this process."""
        self._link.on_unheard = listen

    async def subscribe(self, topic: str, receive: Receive) -> None:
        """Call `receive` for each payload of `topic`, now or from when the link is up, over every reconnect.

        Raises: RefusedError (the user of Redis may not subscribe to it).
        """
        await self._link.subscribe(self._name(topic), receive)

    async def unsubscribe(self, topic: str) -> None:
        """Stop receiving `topic`."""
        await self._link.unsubscribe(self._name(topic))

    def _name(self, topic: str) -> bytes:
        return f"{self._link.topic_prefix}{topic}".encode()

    def _command(self, topic: str, payload: bytes) -> bytes:
        head = self._heads.get(topic)
        if head is None:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            word, name = self._link.publish_word.encode(), self._name(topic)
            head = self._heads[topic] = b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$" % (len(word), word, len(name), name)
        return b"".join((head, b"%d\r\n" % len(payload), payload, b"\r\n"))
