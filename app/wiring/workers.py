"""`heliograph serve --workers N`: the parent of several processes that serve, and of the relay that they share.

A worker that ends is started again, on the same sockets, which are ours, too: who connects meanwhile waits for it.
"""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from app import logs
from app.exits import CommandError
from app.processes import STOP_S, Child, Ending, PartEndedError
from app.report import Ready
from app.wiring.orders import Minted, News, TurnOrder, WorkerOrder
from app.wiring.relay_process import RelayTold
from app.wiring.turn_usage import UsageReports

END_S: Final = 8.0  # that a worker may take beside its drain, also where Redis does not answer
BACKOFF_S: Final = 0.2  # doubled with each end
BACKOFF_LIMIT_S: Final = 10.0
STEADY_S: Final = 30.0  # who lived this long does not end again and again
_TELL_S: Final = 1.0
_COMMAND: Final = (sys.executable, "-P", "-m", "app", "serve")
_news: Final = msgspec.json.Decoder[News](News).decode
log = logging.getLogger(__name__)

Notice = Callable[[str], None]
"""Takes a sentence for the person who started it all."""
Announce = Callable[[tuple[str, ...], list[Ready]], None]
"""Takes the URIs of the relay, and what each worker said of itself."""


class Worker:
    """One process that serves; when it ends by itself, the next one takes its place. `command` replaces the program."""

    def __init__(self, order: WorkerOrder, relay: Child, notice: Notice, command: Sequence[str] = _COMMAND) -> None:
        self._command = command
        self._order = order
        self._relay = relay
        self._notice = notice
        self._has_served = False
        self._is_hurried = False
        self._backoff_s = BACKOFF_S
        self._child = self._made()

    def configure(self, turn_uris: tuple[str, ...]) -> None:
        """Let it serve, now that the relay does."""
        self._order = msgspec.structs.replace(self._order, turn_uris=turn_uris)
        self._child.configure(self._order)

    async def ready(self) -> Ready:
        """Wait until it serves and return what it said of itself. Raises: as `Child.ready`."""
        return await self._child.ready()

    async def run(self) -> None:
        """Keep one process going until cancelled, then end it.

        Raises: CommandError when the first one never serves.
        """
        while True:
            began = time.monotonic()
            try:
                await self._child.run()
            except CommandError as error:
                self._has_served = self._has_served or self._child.is_ready
                if not self._has_served:
                    raise
                await self._wait(_words(self._child.name, error), time.monotonic() - began)
            if self._is_hurried:
                return
            await self._start_again()

    def tell_of_relay(self, *, with_numbers: bool) -> None:
        """Tell it how the relay does; its numbers are told to one worker, since who adds up counts them once."""
        relay, usage = self._relay, self._usage.changes(self._relay.usage)
        told = RelayTold(relay.stats if with_numbers else {}, usage, relay.silent_s)
        if self._child.mention(told):
            self._usage.told(usage)

    def quicken(self) -> None:
        """End it as if by hand."""
        if self._child.is_ready:  # before, it does not know of signals
            self._child.stop_signal = signal.SIGINT

    def hurry(self) -> None:
        """End it at once."""
        self._is_hurried = True
        self._child.hurry()

    def abandon(self) -> None:
        """End it without an event loop."""
        self._child.abandon()

    def _made(self) -> Child:
        order = self._order
        self._usage = UsageReports()
        child = Child(f"worker {order.index + 1}", self._command, order.descriptors)
        if order.settings.slot:  # which it must have: it may wait until the lease of who had it before is over
            child.ready_s += order.settings.node_lease_s
        child.stop_s = order.settings.drain_s + END_S
        child.on_notice = self._notice
        child.on_news = self._pass_on
        return child

    def _pass_on(self, line: str) -> None:
        news = _news(line)
        if isinstance(news, Minted):
            self._relay.mention(news)
        else:
            self._relay.tell(news)

    async def _start_again(self) -> None:
        while True:
            try:
                self._child = self._made()
            except OSError as error:  # no memory, or no more processes, now; the others serve on
                await self._wait(f"{self._child.name} cannot be started: {error.strerror}")
            else:
                self._child.configure(self._order)
                return

    async def _wait(self, what: str, lived_s: float | None = None) -> None:
        """Wait longer each time, but not after one that served for long or ended in order."""
        if lived_s is not None and ((self._child.is_ready and lived_s > STEADY_S) or self._child.has_left):
            self._backoff_s = BACKOFF_S
        delay_s, self._backoff_s = self._backoff_s, min(2 * self._backoff_s, BACKOFF_LIMIT_S)
        self._notice(f"{what}; it is started again in {delay_s:g} s")
        log.error("worker ended by itself", extra={"worker": self._order.index + 1, "reason": what})
        await asyncio.sleep(delay_s)


def _words(name: str, error: CommandError) -> str:
    return error.what if isinstance(error, PartEndedError) else f"{name} cannot serve: {error}"


class WorkersOrder(msgspec.Struct, frozen=True):
    """What several processes are started with: the relay's order, one for each, and the sockets that they inherit."""

    turn: TurnOrder
    workers: tuple[WorkerOrder, ...]
    sockets: tuple[socket.socket, ...]


def start(order: WorkersOrder, turn: Child, on_ready: Announce, notice: Notice) -> None:
    """Serve until SIGINT or SIGTERM, on an event loop of its own.

    Raises: CommandError when a part cannot start, or the relay ends by itself.
    """
    settings = order.turn.settings
    logs.configure(settings.log_level, settings.log_format)
    turn.stop_s = 2 * STOP_S + settings.turn_drain_s  # it may have children of its own to wait for
    workers = [Worker(each, turn, notice) for each in order.workers]
    try:
        asyncio.run(_run(order, turn, workers, on_ready))
    finally:
        for worker in workers:
            worker.abandon()


async def _run(order: WorkersOrder, turn: Child, workers: Sequence[Worker], on_ready: Announce) -> None:
    ending = Ending()
    async with ending.by_signal():
        turn.configure(order.turn)
        async with asyncio.TaskGroup() as group:
            relay = group.create_task(ending.follow(turn))
            if await ending.comes_after(turn.ready()):
                uris = (await turn.ready()).uris
                await _serve(order, workers, ending, lambda said: on_ready(uris, said), uris)
            relay.cancel()  # the last of all


async def _serve(
    order: WorkersOrder,
    workers: Sequence[Worker],
    ending: Ending,
    on_ready: Callable[[list[Ready]], None],
    uris: tuple[str, ...],
) -> None:
    for worker in workers:
        worker.configure(uris)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ending.follow(worker)) for worker in workers]
        tasks.append(group.create_task(_tell_of_relay(workers)))
        said: list[Ready] = []
        if await ending.comes_after(_all_ready(workers, said)):
            on_ready(said)
        await ending.event.wait()
        for worker in workers if ending.is_urgent else ():
            worker.quicken()
        for each in order.sockets:
            each.close()  # a worker that stops to listen would leave us to do so
        for task in tasks:
            task.cancel()


async def _all_ready(workers: Sequence[Worker], said: list[Ready]) -> None:
    said += [await worker.ready() for worker in workers]


async def _tell_of_relay(workers: Sequence[Worker]) -> None:
    while True:
        for number, worker in enumerate(workers):
            worker.tell_of_relay(with_numbers=number == 0)
        await asyncio.sleep(_TELL_S)
