"""What a node among others stands on: catalog, presence, bus, mailbox and tickets in Redis."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from app.wiring.backing import Check, new_node
from app.wiring.redis_start import RedisPlaces
from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.embedded.tickets import EmbeddedTickets
from channels.names import ChannelArn
from channels.owners import Wish
from channels.redis.bus import RedisBus
from channels.redis.commands import Commands
from channels.redis.link import Link
from channels.redis.mailbox import RedisMailbox
from channels.redis.presence import PresenceSettings, RedisPresence
from channels.redis.process_slots import TOPIC, ProcessSlots, SlotSettings
from channels.redis.settings import RedisSettings
from channels.redis.store import RedisStore
from channels.redis.tickets import RedisTickets
from channels.remembered_store import RememberedStore
from channels.signaling.limits import Limits

RED_LIMIT_S: Final = 5.0


class CatalogInRedis:
    """The catalog in Redis, for one process alone: all else is in it."""

    def __init__(self, catalog: RedisSettings) -> None:
        self.node = new_node()
        self._commands = Commands(catalog)
        self.store = RememberedStore(RedisStore(self._commands, catalog.prefix))
        self.bus = EmbeddedBus()
        self.presence = EmbeddedPresence(self.node)
        self.mailbox = None
        self.tickets = EmbeddedTickets()
        self.counters = {"auth_tickets": self.tickets.stats, "catalog_outage_reads": self.store.stats}
        self.checks: dict[str, Check] = {}
        self.link_numbers = None
        self.slots = None

    def tell_of_returns(self, tell: Callable[[], None]) -> None:
        """It never is: connections and messages are in this process."""

    async def work(self) -> None:
        """Do nothing until cancelled; then close the connections."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._commands.aclose()

    def forget(self, arn: ChannelArn) -> None:
        """Another node changed or deleted this channel."""
        self.store.forget(arn)

    def close(self) -> None:
        """Nothing is left to close."""


class AllInRedis:
    """The catalog, and what nodes must share to be one service."""

    def __init__(
        self,
        catalog: RedisSettings,
        presence: RedisSettings,
        limits: Limits,
        wish: Wish | None = None,
        leases: PresenceSettings | None = None,
    ) -> None:
        leases = leases or PresenceSettings()
        self.node = new_node()
        self.link = Link(presence)
        self._catalog = self.link if catalog == presence else Commands(catalog)
        self.store = RememberedStore(RedisStore(self._catalog, catalog.prefix))
        self.link.on_epoch.append(self.store.forget_all)
        self.bus = RedisBus(self.link)
        self.presence = RedisPresence(self.link, self.node, leases)
        self.mailbox = RedisMailbox(self.link, limits)
        self.tickets = RedisTickets(self.link, presence.prefix)
        self.counters = {
            "auth_tickets": self.tickets.stats,
            "catalog_outage_reads": self.store.stats,
            "presence": self.presence.stats,
            "mailbox": self.mailbox.stats,
        }
        self.checks = {"redis": self._check_link}
        self.slots = ProcessSlots(self.link, self.node, wish, SlotSettings(lease_s=leases.node.lease_s))
        self.slots.on_change.append(self._greet)
        self.link.on_epoch += (self.slots.wake, self._greet)  # a number may come before messages go

    def _greet(self) -> None:
        """Let all processes look at the table of slots."""
        self.bus.post(TOPIC, b"")

    def tell_of_returns(self, tell: Callable[[], None]) -> None:
        """Call `tell` each time after this node was cut off from the others, or counted as dead, and is back."""
        self.link.on_epoch.append(tell)
        self.presence.on_lapse.append(tell)

    async def work(self) -> None:
        """Keep the link, the leases and the mailbox going until cancelled; then close the connections."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.link.run())
                group.create_task(self.presence.run())
                group.create_task(self.mailbox.run())
                await self.bus.subscribe(TOPIC, lambda _: self.slots.wake())
                group.create_task(self.slots.run())
        finally:
            for commands in {self.link, self._catalog}:
                await commands.aclose()

    def forget(self, arn: ChannelArn) -> None:
        """Another node changed or deleted this channel."""
        self.store.forget(arn)

    def close(self) -> None:
        """Nothing is left to close."""

    def link_numbers(self) -> dict[str, float]:
        """What the link tells of itself."""
        return {**msgspec.structs.asdict(self.link.stats), "red_s": self.link.red_s}

    async def _check_link(self) -> str | None:
        red_s = self.link.red_s
        return f"no messages go through Redis for {red_s:.0f} s" if red_s > RED_LIMIT_S else None


def in_redis(places: RedisPlaces, limits: Limits, wish: Wish | None = None) -> AllInRedis | CatalogInRedis:
    """Return what the settings want of Redis; `wish` is for the slot of this process."""
    if places.presence is None:
        return CatalogInRedis(places.catalog)
    leases = PresenceSettings.of(places.connection_lease_s, places.node_lease_s)
    return AllInRedis(places.catalog, places.presence, limits, wish, leases)
