"""Tells the TURN process what is no longer good: deleted channels, and credentials that were revoked."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from app.wiring.orders import Revoked
from app.wiring.relay_process import RelayProcess
from channels import ice
from channels.names import ChannelArn

TAGS_A_LINE: Final = 10_000
RETRY_S: Final = 1.0
log = logging.getLogger(__name__)


class RevocationStats(msgspec.Struct):
    """Plain counters: lines told to the TURN process of what is no longer good, and those that nobody read.

    What was in these is told again, the newest 10,000 channels and credentials of it; `lost` is how many were older:
    they relay on until their credentials end.
    """

    told: int = 0
    unread: int = 0
    lost: int = 0


class Revocations:
    """What a node tells its TURN process to end; `run` tells again what nobody read, every `retry_s`."""

    def __init__(self, turn: RelayProcess, retry_s: float = RETRY_S) -> None:
        self.stats = RevocationStats()
        self._turn = turn
        self._retry_s = retry_s
        self._channels: dict[str, None] = {}  # that nobody read, the newest last
        self._holders: dict[str, None] = {}
        self._is_behind = asyncio.Event()

    def of_channel(self, arn: ChannelArn) -> None:
        """End what this channel relays."""
        self._tell(Revoked(channels=(ice.channel_digest(arn).hex(),)))

    def of_credentials(self, ids: Sequence[str]) -> None:
        """End what is relayed with these credentials."""
        tags = [ice.holder_tag(each).hex() for each in ids]
        for start in range(0, len(tags), TAGS_A_LINE):
            self._tell(Revoked(holders=tuple(tags[start : start + TAGS_A_LINE])))

    async def run(self) -> None:
        """Tell again what nobody read, until cancelled."""
        while True:
            await self._is_behind.wait()
            await asyncio.sleep(self._retry_s)
            for tags, news in (
                (self._channels, Revoked(channels=tuple(self._channels))),
                (self._holders, Revoked(holders=tuple(self._holders))),
            ):
                if tags and self._turn.tell(news):
                    self.stats.told += 1
                    tags.clear()
            if not self._channels and not self._holders:
                self._is_behind.clear()
                log.warning("the TURN process reads again, and was told late what is no longer good")

    def _tell(self, news: Revoked) -> None:
        if self._turn.tell(news):
            self.stats.told += 1
            return
        self.stats.unread += 1
        self._keep(self._channels, news.channels)
        self._keep(self._holders, news.holders)
        if not self._is_behind.is_set():
            self._is_behind.set()
            log.error("the TURN process does not read what is no longer good: it will be told again")

    def _keep(self, unread: dict[str, None], tags: Iterable[str]) -> None:
        for tag in tags:
            unread.pop(tag, None)
            unread[tag] = None
            if len(unread) > TAGS_A_LINE:
                del unread[next(iter(unread))]
                self.stats.lost += 1
