"""What nodes tell each other of the catalog: channels that were deleted or changed. Without guarantee, as the bus."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from channels.bus import Bus
from channels.channel import Channel
from channels.errors import InvalidArgumentException
from channels.names import ChannelArn

TOPIC: Final = "catalog"
_TOLD_AGAIN: Final = 1000


class _Deleted(msgspec.Struct, frozen=True, tag="deleted"):
    node: str
    arn: str


class _Updated(msgspec.Struct, frozen=True, tag="updated"):
    node: str
    channel: Channel


_decode: Final = msgspec.msgpack.Decoder[_Deleted | _Updated](_Deleted | _Updated).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class CatalogNewsStats(msgspec.Struct):
    """Plain counters: news told to the other nodes, heard of them, and bytes that were no news."""

    told: int = 0
    heard: int = 0
    refused: int = 0


class CatalogNews:
    """News of one node. Functions in `on_deleted` and `on_updated` hear those of the others; they must not block.

    They may hear of a deletion more than once.
    """

    def __init__(self, bus: Bus, node: str) -> None:
        self.stats = CatalogNewsStats()
        self.on_deleted: list[Callable[[ChannelArn], None]] = []
        self.on_updated: list[Callable[[Channel], None]] = []
        self._bus = bus
        self._node = node
        self._deleted: deque[str] = deque(maxlen=_TOLD_AGAIN)

    async def run(self) -> None:
        """Hear the other nodes until cancelled."""
        await self._bus.subscribe(TOPIC, self._receive)
        try:
            await asyncio.Event().wait()
        finally:
            await self._bus.unsubscribe(TOPIC)

    def tell_deleted(self, arn: ChannelArn) -> None:
        """This node deleted a channel."""
        self._deleted.append(str(arn))
        self._tell(_Deleted(self._node, str(arn)))

    def tell_again(self) -> None:
        """This node was cut off and is back: the others may not have heard of its latest deletions."""
        for arn in self._deleted:
            self._tell(_Deleted(self._node, arn))

    def tell_updated(self, channel: Channel) -> None:
        """This node gave a channel a new state."""
        self._tell(_Updated(self._node, channel))

    def _tell(self, news: _Deleted | _Updated) -> None:
        self.stats.told += 1
        self._bus.post(TOPIC, _encode(news))

    def _receive(self, payload: bytes) -> None:
        try:
            news = _decode(payload)
            arn = ChannelArn.parse(news.arn) if isinstance(news, _Deleted) else news.channel.arn
        except (msgspec.DecodeError, InvalidArgumentException, UnicodeError):
            self.stats.refused += 1
            return
        if news.node == self._node:
            return
        self.stats.heard += 1
        if isinstance(news, _Updated):
            for on_updated in self.on_updated:
                on_updated(news.channel)
        else:
            for on_deleted in self.on_deleted:
                on_deleted(arn)
