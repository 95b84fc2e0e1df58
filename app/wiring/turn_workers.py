"""Several TURN processes that share their ports, as one: started, stopped, told and counted together."""

import asyncio
import sys
from collections.abc import Callable

import msgspec

from app import turn_places
from app.processes import STOP_S, Child
from app.settings import Settings
from app.wiring.orders import Minted, News, TurnOrder
from app.wiring.turn import OnReady, TurnServer, any_port, relay_settings, with_port_443
from app.wiring.turn_usage import Totals
from media.relay.board import shared
from media.relay.interfaces import read_interfaces
from media.relay.listeners import ListenError, Ports, open_listeners
from media.relay.placement import every_host
from media.relay.relay_settings import every_port

SILENCE_S = 3.0  # workers report once a second
_NEWS = msgspec.json.Decoder[News](News)


def make_server(order: TurnOrder, on_notice: Callable[[str], None]) -> "TurnServer | Workers":
    """Return what serves TURN in this process: the relay itself, or who watches over several.

    `on_notice` gets the sentences of several workers for the person who started it all.
    """
    count = turn_places.workers(order.settings.turn_workers)
    return TurnServer(order) if order.workers > 1 or count == 1 else Workers(order, count, on_notice)


class Workers:
    """Processes that the kernel spreads the clients over; the end of one is the end of all."""

    def __init__(self, order: TurnOrder, count: int, on_notice: Callable[[str], None]) -> None:
        self._order = order
        self.moved = ""  # a sentence, when the port was taken
        self._board, _ = shared()  # it is there as long as this process
        command = (sys.executable, "-P", "-m", "app", "turn")
        self._children = [Child(f"TURN worker {number + 1}", command) for number in range(count)]
        for child in self._children:
            child.stop_s = STOP_S + order.settings.turn_drain_s
            child.on_notice = on_notice

    async def check_self(self) -> None:
        """Leave that to the first worker."""

    @property
    def _is_hanging(self) -> bool:
        return any(child.silent_s > SILENCE_S for child in self._children)

    def counters(self) -> dict[str, float] | None:
        """Return the counters of all workers, added up; None while one of them hangs, so that it is seen above."""
        if self._is_hanging:
            return None
        sums: dict[str, float] = {}
        for child in self._children:
            for name, value in child.stats.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def usage(self) -> dict[str, Totals]:
        """Return what each channel used on all workers."""
        sums: dict[str, Totals] = {}
        for child in () if self._is_hanging else self._children:
            for channel, used in child.usage.items():
                before = sums.get(channel, (0, 0, 0))
                sums[channel] = (before[0] + used[0], before[1] + used[1], before[2] + used[2])
        return sums

    def take(self, line: bytes) -> None:
        """Pass a line of the parent on to all."""
        news = _NEWS.decode(line)
        for child in self._children:
            if isinstance(news, Minted):
                child.mention(news)
            else:
                child.tell(news)

    async def run(self, on_ready: OnReady, stopping: asyncio.Event) -> None:
        """Relay until `stopping`; `on_ready` gets the URIs once all are ready.

        Raises: SettingsError when a port is taken and may not move, CommandError when a worker ends.
        """
        try:
            settings = self._settled()
        except BaseException:
            for child in self._children:
                child.abandon()
            raise
        async with asyncio.TaskGroup() as group:
            for number, child in enumerate(self._children):
                place = {"worker": number, "workers": len(self._children), "board": self._board}
                share = msgspec.structs.replace(self._order, settings=settings, may_move=False, **place)
                child.configure(share)
            tasks = [group.create_task(child.run()) for child in self._children]
            tasks.append(group.create_task(self._announce(on_ready)))
            await stopping.wait()
            for task in tasks:
                task.cancel()

    def hurry(self) -> None:
        """End all at once, whatever they still relay."""
        for child in self._children:
            child.hurry()

    async def _announce(self, on_ready: OnReady) -> None:
        answers = [await child.ready() for child in self._children]
        on_ready(answers[0].uris)

    def _settled(self) -> Settings:
        """The settings with the ports that all workers are to share: a port that several open is not noticed as taken
        by another program of ours, and any free one has to be the same for all.
        """
        settings = with_port_443(self._order.settings)
        try:
            port = _bound_port(settings)
        except ListenError as error:
            settings = any_port(self._order, settings, error)
            port = _bound_port(settings)
            self.moved = f"TURN_PORT: {self._order.settings.turn_port} is taken, using {port}"
        return msgspec.structs.replace(settings, turn_port=port, turn_udp_443=False)


def _bound_port(settings: Settings) -> int:
    rules = relay_settings(settings)
    hosts, kept_free = every_host((rules.host,)), every_port(rules)
    ports = Ports(hosts, rules.port, rules.more_ports, rules.has_tcp, kept_free=kept_free)
    listeners = open_listeners(ports, read_interfaces())
    listeners.close()
    return listeners.port
