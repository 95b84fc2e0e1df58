"""The links of one node over its bus: when frames go out, when what is lost is sent again. Their rules: `node_link`.

Everything said in one turn of the loop to one node leaves in one frame; no task and no future per message.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
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
_DELIVERED: Final = Outcome.DELIVERED
Link = NodeLink[Parcel | None]


class Peer:
    """Another node: its inbox, and our end of the link to it."""

    __slots__ = ("_owner", "is_used", "link", "node", "topic", "used_at")

    def __init__(self, owner: "Links", node: str, link: Link) -> None:
        self._owner = owner
        self.node = node
        self.topic = inbox(node)
        self.link = link
        self.is_used = True  # since somebody looked
        self.used_at = 0.0

    def defer(self, arrived: Arrived) -> Settle:
        """Acknowledge this body when what is returned is called with what became of it."""
        self.link.defer(arrived)
        return partial(self._settle, arrived)

    def _settle(self, arrived: Arrived, outcome: Outcome) -> None:
        if outcome is _DELIVERED:
            self.link.accept(arrived)
        else:
            self.link.refuse(arrived, outcome)
        self._owner.acknowledge(self)


class Station(Protocol):
    """Who uses the links of a node."""

    def settled(self, parcel: Parcel, outcome: Outcome) -> None:
        """This is what became of a parcel of ours."""

    def suspect(self, node: str, flow: Flow) -> None:
        """What was sent to this flow's recipient on this node is not acknowledged: it may be elsewhere."""

    def arrived(self, peer: Peer, arrived: Arrived) -> Outcome | None:
        """Another node says this; None when `peer.defer` was called for it."""


class Links:
    """This node's ends of the links to all others."""

    def __init__(self, node: str, bus: Bus, now: Callable[[], float], station: Station, stats: HubStats) -> None:
        self._node = node
        self._bus = bus
        self._now = now
        self._station = station
        self._hand_over = station.arrived
        self._stats = stats
        self._peers: dict[str, Peer] = {}
        self._epochs = itertools.count(1)
        self._dirty: dict[Peer, None] = {}
        self._owing: dict[Peer, float] = {}  # since their last acknowledgement
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing: asyncio.Handle | None = None
        self._owing_timer: asyncio.TimerHandle | None = None
        bus.on_unheard(self.unheard)

    def __len__(self) -> int:
        """How many messages are on their way to other nodes."""
        return sum(len(peer.link) for peer in self._peers.values())

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from now on; what waited goes out."""
        self._loop = loop
        if self._dirty:
            self._flushing = loop.call_soon(self._flush)

    async def close(self) -> None:
        """Tell the other nodes what has arrived, and send nothing any more."""
        for handle in (self._flushing, self._owing_timer):
            if handle is not None:
                handle.cancel()
        self._loop = self._flushing = self._owing_timer = None
        async with asyncio.TaskGroup() as group:
            for peer in self._peers.values():
                group.create_task(self._say_last(peer))

    async def _say_last(self, peer: Peer) -> None:
        try:
            async with asyncio.timeout(_FLUSH_S):
                while frames := peer.link.frames(self._now()):  # what is said, then what is owed
                    for frame in frames:
                        await self._bus.publish(peer.topic, frame)
        except (TimeoutError, BusUnavailableError):
            self._stats.publish_unreachable += 1  # whoever does not hear it reports what it had said as in doubt

    def send(self, node: str, body: bytes, flow: object, parcel: Parcel | None, until: float) -> bool:
        """Say this to a node; False when too much is on its way there. Without a parcel nobody hears the outcome."""
        peer = self._peers.get(node) or self._meet(node)
        peer.is_used = True
        if not peer.link.send(body, flow, parcel, until):
            return False
        if peer not in self._dirty:
            self._touch(peer)
        return True

    def parcels(self) -> Iterator[Parcel]:
        """What is on its way to other nodes, and has a sender."""
        return (parcel for peer in self._peers.values() for parcel in peer.link.contexts() if parcel is not None)

    def withdraw(self, node: str, flow: Flow) -> None:
        """Give up what is on its way to this flow's recipient: it is elsewhere."""
        peer = self._peers.get(node)
        if peer is not None:
            self._report(peer.link.withdraw(flow))

    def resend(self) -> None:
        """The bus is back after a gap: send again what is not acknowledged."""
        for peer in self._peers.values():
            peer.link.resend()
            if peer.link.has_news:
                self._touch(peer)

    def receive(self, payload: bytes) -> None:
        """Take a frame from the inbox; other bytes are counted and ignored."""
        try:
            frame = link_frame.decode(payload)
        except link_frame.LinkFrameError:
            self._stats.envelopes_refused += 1
            return
        peer = self._peers.get(frame.node) or self._meet(frame.node)
        peer.is_used = True
        link = peer.link
        settled, arrived = link.receive(frame)
        if settled:
            self._report(settled)
        for each in arrived:
            outcome = self._hand_over(peer, each)
            if outcome is not _DELIVERED and outcome is not None:
                link.refuse(each, outcome)
        if frame.messages or arrived:
            self.acknowledge(peer)

    def unheard(self, topic: str, payload: bytes) -> None:
        """What was posted surely reached nobody."""
        self._stats.publish_unreachable += 1
        try:
            frame = link_frame.decode(payload)
        except link_frame.LinkFrameError:
            return  # a notice to all, and nobody is there
        for peer in self._peers.values():
            if peer.topic == topic:
                peer.link.unheard(frame)

    def expire(self) -> None:
        """Give up what is over its time, send again what was not acknowledged, forget links that are not used."""
        now = self._now()
        for peer in list(self._peers.values()):
            link = peer.link
            self._report(link.expire(now))
            if link.has_news:
                self._touch(peer)
            for flow in link.suspects()[:_SUSPECTS]:
                if isinstance(flow, Flow):
                    self._station.suspect(peer.node, flow)
            if peer.is_used or not link.is_idle:
                peer.is_used = False
                peer.used_at = now
            elif peer.used_at + _IDLE_S <= now:
                del self._peers[peer.node]

    def acknowledge(self, peer: Peer) -> None:
        """Tell the other node what has arrived, with what is said anyway or soon.

        A frame that says something need not tell it while the last acknowledgement is young: asked again after each.
        """
        if peer in self._dirty or (peer in self._owing and not peer.link.owes_much):
            return
        wait_s = peer.link.acknowledge_in(self._now())
        if wait_s is None:
            return
        if wait_s == 0.0:
            self._touch(peer)
            return
        self._owing[peer] = peer.link.acknowledged_at
        if self._owing_timer is None and self._loop is not None:
            self._owing_timer = self._loop.call_later(wait_s, self._pay)

    def _meet(self, node: str) -> Peer:
        peer = self._peers[node] = Peer(self, node, NodeLink(self._node, next(self._epochs)))
        return peer

    def _report(self, settled: list[Settled[Parcel | None]]) -> None:
        tell = self._station.settled
        for each in settled:
            if each.context is not None:
                tell(each.context, each.outcome)

    def _pay(self) -> None:
        self._owing_timer = None
        owing, self._owing = self._owing, {}
        for peer, acknowledged_at in owing.items():
            if peer.link.acknowledged_at == acknowledged_at:
                self._dirty[peer] = None
            else:
                self.acknowledge(peer)  # it was told since, with a message: what came after that may wait as long
        self._flush()

    def _touch(self, peer: Peer) -> None:
        self._dirty[peer] = None
        if self._flushing is None and self._loop is not None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        dirty, self._dirty = self._dirty, {}
        now = self._now()
        posts = [(peer.topic, frame) for peer in dirty for frame in peer.link.frames(now)]
        if posts:
            self._bus.post_all(posts)
        for peer in dirty:
            self.acknowledge(peer)
