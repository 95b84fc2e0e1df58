"""What the groups of rows of `bench signaling` have in common: how long they measure, and the usual four relays."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from app.bench import Progress, Row
from tests.benchmarks._signaling_load import PAYLOAD, Generator, Load, Order, Relay, Report, by_turns
from tests.benchmarks._signaling_relays import Relays, Service, plain_targets

CHANNELS = 100
IN_FLIGHT = 300
RATE = 5_000
PER_LOAD_S = 1.5  # to connect a few hundred, and to warm up
PER_RUN_S = 0.6  # the warm-up and the rest of a run

Reports = dict[str, list[Report]]
"""Of each run, by the relay's name; ours comes first."""
Party = tuple[Relay, Sequence[str]]
"""A relay and the connections to it."""


class Bench:
    """One campaign: how often and how long it measures, and the relays that it keeps from group to group."""

    def __init__(self, home: Path, stack: contextlib.ExitStack, runs: int, seconds: float, progress: Progress) -> None:
        self.home = home
        self.relays = Relays(home)
        self.generator = Generator(home)
        self.runs = runs
        self.seconds = seconds
        self.progress = progress
        self._stack = stack
        self._service: Service | None = None
        self._yardsticks: tuple[Relay, ...] = ()

    async def service(self) -> Service:
        """Ours, with its usual settings."""
        self._service = self._service or await self.relays.service(self._stack, max(CHANNELS, IN_FLIGHT))
        return self._service

    @property
    def yardsticks(self) -> tuple[Relay, ...]:
        """Node, Starlette and the ceiling, in this order."""
        starts = (self.relays.node, self.relays.starlette, self.relays.raw)
        self._yardsticks = self._yardsticks or tuple(start(self._stack) for start in starts)
        return self._yardsticks

    async def all_four(self, order: Order, viewers: int, channels: int = CHANNELS, payload: int = PAYLOAD) -> Reports:
        """Reports of ours and of all yardsticks, by turns."""
        plain = plain_targets(channels, viewers)
        service = await self.service()
        ours: Party = (service.relay, service.targets(channels, viewers))
        return await self.compare(order, [ours, *((each, plain) for each in self.yardsticks)], payload)

    async def compare(self, order: Order, parties: Sequence[Party], payload: int = PAYLOAD) -> Reports:
        """Reports of these relays, all connected, by turns."""
        async with contextlib.AsyncExitStack() as stack:
            loads = [await stack.enter_async_context(self.generator.load(*party, payload)) for party in parties]
            return await self.by_turns(loads, order)

    async def by_turns(self, loads: Sequence[Load], order: Order) -> Reports:
        """Reports of loads that are connected already."""
        reports = await by_turns(loads, order, self.runs)
        return {load.relay.name: each for load, each in zip(loads, reports, strict=True)}


class Group(msgspec.Struct, frozen=True):
    """Rows that are measured together, and about how many seconds that takes for so many runs of so many seconds."""

    rows: tuple[str, ...]
    measure: Callable[[Bench], Awaitable[tuple[Row, ...]]]
    seconds: Callable[[int, float], float]
    is_default: bool = True


def of_relays(count: int) -> Callable[[int, float], float]:
    """How long a group takes that lets so many relays run by turns."""
    return lambda runs, seconds: count * (PER_LOAD_S + runs * (seconds + PER_RUN_S))
