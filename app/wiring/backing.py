"""What a node stands on: catalog, access keys, presence, bus, mailbox and tickets, in this process or in Redis."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from app.settings import SettingsError
from channels.bus import Bus
from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.embedded.store import SqliteStore
from channels.embedded.tickets import EmbeddedTickets
from channels.names import ChannelArn
from channels.owners import Slots
from channels.presence import Presence
from channels.signaling.mailbox import Mailbox
from channels.store import Store, StoreUnavailableError
from channels.tickets import TicketBook

Check = Callable[[], Awaitable[str | None]]
"""None, or in a sentence why this part is not ready."""


class Backing(Protocol):
    """The parts, and what the operations port tells of them."""

    @property
    def node(self) -> str:
        """The name of this process among the others."""

    @property
    def store(self) -> Store:
        """The catalog."""

    @property
    def bus(self) -> Bus:
        """Messages between nodes."""

    @property
    def presence(self) -> Presence:
        """Who is connected where."""

    @property
    def mailbox(self) -> Mailbox | None:
        """Messages for absent peers; None: the hub keeps them itself."""

    @property
    def tickets(self) -> TicketBook:
        """The tickets that are out."""

    @property
    def counters(self) -> Mapping[str, msgspec.Struct]:
        """For /metrics, by the name of the metric."""

    @property
    def link_numbers(self) -> Callable[[], Mapping[str, float]] | None:
        """What the link to the other nodes tells of itself; None without one."""

    @property
    def checks(self) -> Mapping[str, Check]:
        """For /readyz, by the name of the part."""

    @property
    def slots(self) -> Slots | None:
        """Which processes there are; None for one that is alone."""

    def tell_of_returns(self, tell: Callable[[], None]) -> None:
        """Call `tell` each time after this node was cut off from the others, or counted as dead, and is back."""

    async def work(self) -> None:
        """Keep it going until cancelled."""

    def forget(self, arn: ChannelArn) -> None:
        """Another node changed or deleted this channel."""

    def close(self) -> None:
        """Close files; may be called again."""


class Embedded:
    """All in this process, the catalog in the SQLite file `catalog`. Raises: SettingsError."""

    def __init__(self, catalog: str) -> None:
        self.node = new_node()
        try:
            self.store = SqliteStore(catalog)
        except StoreUnavailableError as error:
            raise SettingsError(
                f"DATA_DIR: {error}; --data-dir or HELIOGRAPH_DATA_DIR chooses another folder"
            ) from None
        self.bus = EmbeddedBus()
        self.presence = EmbeddedPresence(self.node)
        self.mailbox = None
        self.tickets = EmbeddedTickets()
        self.counters = {"auth_tickets": self.tickets.stats, "catalog_writes": self.store.stats}
        self.checks: dict[str, Check] = {}
        self.link_numbers = None
        self.slots = None

    def tell_of_returns(self, tell: Callable[[], None]) -> None:
        """It never is."""

    async def work(self) -> None:
        """Do nothing until cancelled."""
        await asyncio.Event().wait()

    def forget(self, arn: ChannelArn) -> None:
        """There is no other node."""

    def close(self) -> None:
        """Close the catalog; may be called again."""
        self.store.close()


def new_node() -> str:
    """Return a name that no other process has, nor had."""
    return f"node-{secrets.token_hex(8)}"
