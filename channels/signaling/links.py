"""The links of one node over its bus: when frames go out, when what is lost is sent again. Their rules: `node_link`.

Everything said in one turn of the loop to one node leaves in one frame; no task and no future per message.
"""

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from channels.bus import Bus, BusUnavailableError
from channels.signaling import link_frame
from channels.signaling.envelope import inbox
from channels.signaling.flows import Flow, Parcel
from channels.signaling.members import Settle
from channels.signaling.node_link import Arrived, NodeLink, Outcome, Settled
from channels.signaling.stats import HubStats

_IDLE_S: Final = 60.0  # so long a link without messages is remembered
_SUSPECTS: Final = 64  # orders of one link that are checked at a time
_FLUSH_S: Final = 1.0
Link = NodeLink[Parcel | None]


class Station(Protocol):
    """Who uses the links of a node."""

    def settled(self, parcel: Parcel, outcome: Outcome) -> None:
        """This is what became of a parcel of ours."""

    def suspect(self, flow: Flow) -> None:
        """What was sent to this flow's recipient is not acknowledged: it may be elsewhere."""

    def arrived(self, body: bytes, later: Callable[[], Settle]) -> Outcome:
        """Another node says this. Call `later` to tell the outcome by what it returns; the answer is void then."""


class Links:
    """This node's ends of the links to all others."""

    def __init__(self, node: str, bus: Bus, now: Callable[[], float], station: Station, stats: HubStats) -> None:
        self._node = node
        self._bus = bus
        self._now = now
        self._station = station
        self._stats = stats
        self._links: dict[str, Link] = {}
        self._used: dict[str, float] = {}
        self._epochs = itertools.count(1)
        self._dirty: dict[str, Link] = {}
        self._owing: dict[str, Link] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing: asyncio.Handle | None = None
        self._owing_timer: asyncio.TimerHandle | None = None
        bus.on_unheard(self.unheard)

    def __len__(self) -> int:
        """How many messages are on their way to other nodes."""
        return sum(len(link) for link in self._links.values())

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from now on; what waited goes out."""
        self._loop = loop
        self._schedule()

    async def close(self) -> None:
        """Tell the other nodes what has arrived, and send nothing any more."""
        for handle in (self._flushing, self._owing_timer):
            if handle is not None:
                handle.cancel()
        self._loop = self._flushing = self._owing_timer = None
        try:
            async with asyncio.timeout(_FLUSH_S):
                for node, link in list(self._links.items()):
                    for frame in link.frames(self._now()):
                        await self._bus.publish(inbox(node), link_frame.encode(frame))
        except (TimeoutError, BusUnavailableError):
            self._stats.publish_unreachable += 1  # whoever does not hear it reports what it had said as in doubt

    def send(self, node: str, body: bytes, flow: object, parcel: Parcel | None, until: float) -> bool:
        """Say this to a node; False when too much is on its way there. Without a parcel nobody hears the outcome."""
        link = self._link(node)
        if not link.send(body, flow, parcel, until):
            return False
        self._touch(node, link)
        return True

    def withdraw(self, node: str, flow: Flow) -> None:
        """Give up what is on its way to this flow's recipient: it is elsewhere."""
        link = self._links.get(node)
        if link is not None:
            self._report(link.withdraw(flow))

    def resend(self) -> None:
        """The bus is back after a gap: send again what is not acknowledged."""
        for node, link in self._links.items():
            link.resend()
            if link.has_news:
                self._touch(node, link)

    def receive(self, payload: bytes) -> None:
        """Take a frame from the inbox; other bytes are counted and ignored."""
        try:
            frame = link_frame.decode(payload)
        except link_frame.LinkFrameError:
            self._stats.envelopes_refused += 1
            return
        link = self._link(frame.node)
        settled, arrived = link.receive(frame)
        self._report(settled)
        for each in arrived:
            self._hand_over(frame.node, link, each)
        self._acknowledge(frame.node, link)

    def unheard(self, topic: str, payload: bytes) -> None:
        """What was posted surely reached nobody."""
        self._stats.publish_unreachable += 1
        try:
            frame = link_frame.decode(payload)
        except link_frame.LinkFrameError:
            return  # a notice to all, and nobody is there
        for node, link in self._links.items():
            if inbox(node) == topic:
                link.unheard(frame)

    def expire(self) -> None:
        """Give up what is over its time, send again what was not acknowledged, forget links that are not used."""
        now = self._now()
        for node, link in list(self._links.items()):
            self._report(link.expire(now))
            if link.has_news:
                self._touch(node, link)
            for flow in link.suspects()[:_SUSPECTS]:
                if isinstance(flow, Flow):
                    self._station.suspect(flow)
            if link.is_idle and self._used[node] + _IDLE_S <= now:
                del self._links[node], self._used[node]

    def _link(self, node: str) -> Link:
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = NodeLink(self._node, next(self._epochs))
        self._used[node] = self._now()
        return link

    def _hand_over(self, node: str, link: Link, arrived: Arrived) -> None:
        is_deferred = False

        def later() -> Settle:
            nonlocal is_deferred
            is_deferred = True
            link.defer(arrived)
            return partial(self._settle, node, link, arrived)

        outcome = self._station.arrived(arrived.body, later)
        if outcome is not Outcome.DELIVERED and not is_deferred:
            link.refuse(arrived, outcome)

    def _settle(self, node: str, link: Link, arrived: Arrived, outcome: Outcome) -> None:
        if outcome is Outcome.DELIVERED:
            link.accept(arrived)
        else:
            link.refuse(arrived, outcome)
        self._acknowledge(node, link)

    def _report(self, settled: list[Settled[Parcel | None]]) -> None:
        for each in settled:
            if each.context is not None:
                self._station.settled(each.context, each.outcome)

    def _acknowledge(self, node: str, link: Link) -> None:
        wait_s = link.acknowledge_in(self._now())
        if wait_s is None:
            return
        if wait_s == 0.0 or link.has_news:
            self._touch(node, link)
            return
        self._owing[node] = link
        if self._owing_timer is None and self._loop is not None:
            self._owing_timer = self._loop.call_later(wait_s, self._pay)

    def _pay(self) -> None:
        self._owing_timer = None
        owing, self._owing = self._owing, {}
        self._dirty.update(owing)
        self._flush()

    def _touch(self, node: str, link: Link) -> None:
        self._dirty[node] = link
        self._schedule()

    def _schedule(self) -> None:
        if self._dirty and self._flushing is None and self._loop is not None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        dirty, self._dirty = self._dirty, {}
        now = self._now()
        for node, link in dirty.items():
            for frame in link.frames(now):
                self._bus.post(inbox(node), link_frame.encode(frame))
