"""What one node tells all nodes: at once, and again a little later, since one of them may have been away."""

import asyncio
import itertools
from typing import Final, Protocol

from channels.bus import Bus, BusUnavailableError
from channels.signaling import envelope
from channels.signaling.envelope import EVERY_NODE, EnvelopeError, Gone
from channels.signaling.stats import HubStats

_AGAIN_S: Final = (0.5, 3.0)


class Hearer(Protocol):
    """Who is told what other nodes, or this one, tell all."""

    stats: HubStats

    def close_here(self, channel: str, code: int, reason: str) -> None:
        """Close the connections of a channel on this node."""


class Notices:
    """What this node tells all others, and hears from them."""

    def __init__(self, bus: Bus, hearer: Hearer) -> None:
        self._bus = bus
        self._hearer = hearer
        self._numbers = itertools.count()
        self._later: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """How many notices are still to be repeated."""
        return len(self._later)

    async def listen(self) -> None:
        """Hear what is told to all."""
        await self._bus.subscribe(EVERY_NODE, self._hear)

    def cease(self) -> None:
        """Repeat nothing any more."""
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()

    async def close(self) -> None:
        """Hear nothing any more."""
        await self._bus.unsubscribe(EVERY_NODE)

    async def tell(self, notice: Gone) -> None:
        """Tell all nodes; when the bus is away now, those that are there a little later hear it."""
        payload = envelope.encode_notice(notice)
        try:
            await self._bus.publish(EVERY_NODE, payload)
        except BusUnavailableError:
            self._hearer.stats.publish_unreachable += 1
        loop = asyncio.get_running_loop()
        for after_s in _AGAIN_S:
            number = next(self._numbers)
            self._later[number] = loop.call_later(after_s, self._repeat, number, payload)

    def _repeat(self, number: int, payload: bytes) -> None:
        del self._later[number]
        self._bus.post(EVERY_NODE, payload)

    def _hear(self, payload: bytes) -> None:
        try:
            gone = envelope.decode_notice(payload)
        except EnvelopeError:
            self._hearer.stats.envelopes_refused += 1
        else:
            self._hearer.close_here(gone.channel, gone.code, gone.reason)
