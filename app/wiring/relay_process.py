"""The relay as a node sees it: a child of its own, or, for a worker, the one of the parent that it shares."""

import asyncio
import time
from typing import Protocol

import msgspec

from app.parent import ParentLink
from app.report import Ready, Report
from app.wiring.turn_usage import remember

_ENCODER = msgspec.json.Encoder()


class RelayProcess(Protocol):
    """What a node asks of the relay's process; `app.processes.Child` is one."""

    stop_s: float
    stats: dict[str, float]
    usage: dict[str, tuple[int, int, int]]

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""

    @property
    def silent_s(self) -> float:
        """Seconds since its last report."""

    def tell(self, news: msgspec.Struct) -> bool:
        """Send news that it must heed; whether it was sent."""

    def mention(self, news: msgspec.Struct) -> bool:
        """Send news that it may miss; whether it was sent."""

    async def ready(self) -> Ready:
        """Wait until it works and return what it said of itself."""

    async def run(self) -> None:
        """Follow it until it ends."""

    def hurry(self) -> None:
        """End it at once."""


class RelayTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the parent tells a worker of the relay, once a second: its counters, which one worker alone gets, what has
    changed of its usage, and for how long it has been silent.
    """

    stats: dict[str, float] = {}
    usage: dict[str, tuple[int, int, int]] = {}
    silent_s: float = 0.0


_TOLD = msgspec.json.Decoder(RelayTold)


class RelayOfParent:
    """The relay that a worker shares with the others. It ends with the parent, and so do we."""

    def __init__(self, link: ParentLink, uris: tuple[str, ...]) -> None:
        self.stop_s = 0.0  # the parent's to decide
        self.stats: dict[str, float] = {}
        self.usage: dict[str, tuple[int, int, int]] = {}
        self.is_alive = True
        self._link = link
        self._uris = uris
        self._silent_since = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since its last report, that the parent does not tell of it included."""
        return time.monotonic() - self._silent_since

    def take(self, line: bytes) -> None:
        """Take a line of the parent."""
        told = _TOLD.decode(line)
        self._silent_since = time.monotonic() - told.silent_s
        self.stats = told.stats
        for channel, totals in told.usage.items():
            remember(self.usage, channel, totals)

    def tell(self, news: msgspec.Struct) -> bool:
        """Send news that it must heed; whether it was sent."""
        return self._link.tell(news)

    def mention(self, news: msgspec.Struct) -> bool:
        """Send news that it may miss; whether it was sent."""
        return self._link.report(Report(news=_ENCODER.encode(news).decode()))

    async def ready(self) -> Ready:
        """Return what it said of itself: the parent waits for it before workers start."""
        return Ready(self._uris)

    async def run(self) -> None:
        """Wait: the parent follows it."""
        await asyncio.Event().wait()

    def hurry(self) -> None:
        """Leave that to the parent."""
