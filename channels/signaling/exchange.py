"""All that goes between this node, the others and the mailbox: find, send, hold, and do what others ask.

Local relays never come here. A mail whose recipient's place is known goes straight to the link with that node; one
task per recipient does what has to wait (a lookup, the mailbox), and later mails to it queue behind. The node of the
sender answers for a mail until another node has handed it over, the mailbox holds it, or its sender was told.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from channels.bus import Bus
from channels.errors import ServiceError
from channels.presence import Holder, Presence, PresenceUnavailableError
from channels.signaling import envelope, failures
from channels.signaling.envelope import Collect, Deliver, EnvelopeError, Evict, Gone, inbox
from channels.signaling.errands import HOLD_S, Errands
from channels.signaling.flows import WAITING_LIMIT, Flow, Flows, Parcel, Route, Work
from channels.signaling.links import Links, Peer
from channels.signaling.local import Local
from channels.signaling.mailbox import Mail, Mailbox
from channels.signaling.node_link import WINDOW, Arrived, Outcome
from channels.signaling.notices import Notices
from channels.signaling.protocol import Address

TICK_S: Final = 0.1
# Until then a mail whose sender wants an answer is with another node, or the mailbox is tried: 2 s are promised.
PATIENCE_S: Final = 1.2
_QUIET_PATIENCE_S: Final = 15.0  # one whose sender wants none is sent again for longer
_CHECK_S: Final = 0.3
_LEAVE_S: Final = 1.0
_HOPS: Final = 3
_DELIVERED: Final = Outcome.DELIVERED


class Exchange:
    """Messages between this node's connections and everybody who is not here."""

    def __init__(
        self, node: str, bus: Bus, presence: Presence, mailbox: Mailbox, local: Local, now: Callable[[], float]
    ) -> None:
        self._node = node
        self._bus = bus
        self._local = local
        self._now = now
        self._links = Links(node, bus, now, self, local.stats)
        self.receive = self._links.receive  # takes what another node sends to this one
        self._flows = Flows()
        self._errands = Errands(presence, mailbox, local, now, self._next_turn)
        self._working: dict[Flow, None] = {}  # those with a task, or that wait for the start
        self._turn = asyncio.Event()  # set at each tick, and when something is settled that a flow waits for
        self._group: asyncio.TaskGroup | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._notices = Notices(bus, local)

    def __len__(self) -> int:
        """How much is remembered: recipients elsewhere, and messages on their way to other nodes."""
        return len(self._flows) + len(self._links)

    @property
    def pending(self) -> int:
        """How much is on its way or waits."""
        return len(self._working) + len(self._links)

    async def listen(self) -> None:
        """Receive what other nodes send to this one, and to all."""
        await self._bus.subscribe(inbox(self._node), self.receive)
        await self._notices.listen()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Work in `group` from now on; what waited begins."""
        self._group = group
        self._links.open(asyncio.get_running_loop())
        self._tick_soon()
        for flow in self._working:
            group.create_task(self._work(flow))

    async def stop(self) -> None:
        """Listen no more; the group has ended, and what comes now waits for the next start."""
        self._group = None
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = None
        self._notices.cease()
        try:
            async with asyncio.timeout(_LEAVE_S), asyncio.TaskGroup() as group:
                # First: what others say from then on reaches nobody, as they know, and is brought elsewhere.
                group.create_task(self._bus.unsubscribe(inbox(self._node)))
                group.create_task(self._notices.close())
        except TimeoutError:
            self._local.stats.publish_unreachable += 1
        await self._links.close()

    def underway(self) -> set[str]:
        """The ids of the connections that wait for what becomes of something they said."""
        parcels = (*self._links.parcels(), *self._flows.parcels())
        return {parcel.mail.connection_id for parcel in parcels if parcel.mail.correlation_id}

    # What this node's connections ask for

    def is_busy(self, channel: str, recipient: Address) -> bool:
        """Whether a message to this recipient is waiting, so that a later one must not overtake it."""
        if not self._working:
            return False
        flow = self._flows.find(channel, recipient)
        return flow is not None and flow.is_working

    def send(self, mail: Mail) -> None:
        """Bring the mail to its recipient, or hold it, or report the failure."""
        flow = self._flows.get(mail.channel, mail.recipient)
        parcel = self._parcel(flow, mail)
        if flow.route is not None and not flow.is_working:
            self._post(flow, flow.route, parcel)
        elif self._flows.put(flow, parcel):
            self._wake(flow)
        else:
            self._local.answer(mail, failures.full("waiting_messages_per_channel", WAITING_LIMIT), "full")

    def pass_on(self, mail: Mail) -> None:
        """The recipient is gone to whom the mail was to be given: look for it again, a few times at most.

        It is older than what waits for the recipient already.
        """
        if mail.hops >= _HOPS:
            self._local.answer(mail, failures.unreachable(), "unreachable")
            return
        flow = self._flows.get(mail.channel, mail.recipient)
        flow.returned.append(self._parcel(flow, msgspec.structs.replace(mail, hops=mail.hops + 1)))
        self._wake(flow)

    def expire_mail(self, mail: Mail) -> None:
        """The mail's time is over: report it, if it is still held."""
        self.put(mail.channel, mail.recipient, partial(self._errands.expire, mail))

    def answer(self, mail: Mail, frame: bytes) -> None:
        """Send a status frame to the mail's sender on another node."""
        self._say(mail.node, envelope.encode(Deliver(mail.connection_id, frame)))

    def evict(self, replaced: Holder) -> None:
        """Close the connection that lost its slot, wherever it is."""
        if replaced.node == self._node:
            self._local.close_replaced(replaced.connection_id)
        else:
            self._say(replaced.node, envelope.encode(Evict(replaced.connection_id)))

    def close_channel(self, channel: str, code: int, reason: str) -> None:
        """Close the channel's connections on all other nodes and drop what is held for it."""
        self.put(channel, None, partial(self._notices.tell, Gone(channel, code, reason)))
        self.put(channel, None, partial(self._errands.drop, channel))

    def came(self, channel: str, address: Address) -> None:
        """A recipient is on this node now: what is said to it elsewhere is settled before anything is said here."""
        flow = self._flows.find(channel, address)
        if flow is None:
            return
        flow.route, flow.refused_by = None, ""
        if flow.outstanding:
            self._wake(flow)
        else:
            self._flows.forget(flow)

    def left(self, channel: str) -> None:
        """Nobody of this channel is on this node any more."""
        self._flows.leave(channel)

    def put(self, channel: str, recipient: Address | None, work: Work) -> None:
        """Have this done before what is said to the recipient from now on."""
        flow = self._flows.get(channel, recipient)
        self._flows.put(flow, work, is_urgent=True)
        self._wake(flow)

    def expire(self) -> None:
        """Do what is due on the links and in what waits."""
        self._links.expire()
        late = self._now() - HOLD_S
        for flow in list(self._working):
            self._answer_late(flow, late)
        self._turn.set()

    def resend(self) -> None:
        """The bus is back after a gap."""
        self._links.resend()
        self._turn.set()

    # What the links tell

    def settled(self, parcel: Parcel, outcome: Outcome) -> None:
        """Another node has handed the parcel over or not, or nobody knows."""
        flow, mail = parcel.flow, parcel.mail
        flow.outstanding -= 1
        if outcome is _DELIVERED:
            self._local.count(mail, "published")
        elif outcome is Outcome.SLOW:
            self._local.answer(mail, failures.slow(), "slow")
        elif outcome is Outcome.DOUBTFUL:
            self._local.answer(mail, failures.doubtful(), "unreachable")
        else:
            if flow.route is not None and flow.route.connection_id == parcel.connection_id:
                flow.route = None
            if outcome is Outcome.ABSENT:
                flow.refused_by = parcel.connection_id
            parcel.is_known = True
            flow.returned.append(parcel)
            self._wake(flow)
        if not flow.outstanding and flow.is_working:
            self._turn.set()
        elif flow.route is None:
            self._flows.forget(flow)

    def suspect(self, node: str, flow: Flow) -> None:
        """Look whether the recipient is still where the link goes, now and then."""
        now = self._now()
        if flow.is_working:
            if flow.route is None:  # it is elsewhere: what is said to it there must not wait for a node that is silent
                self._links.withdraw(node, flow)
        elif now >= flow.check_at:
            flow.check_at = now + _CHECK_S
            flow.is_suspect = True
            self._wake(flow)

    def arrived(self, peer: Peer, arrived: Arrived) -> Outcome | None:
        """Do what another node asks."""
        try:
            asked = envelope.decode(arrived.body)
        except EnvelopeError:
            self._local.stats.envelopes_refused += 1
            return Outcome.DELIVERED
        if type(asked) is Deliver:
            outcome = self._local.accept(asked.connection_id, asked.frame)
            if outcome is None:
                self._local.park(asked.connection_id, asked.frame, peer.defer(arrived))
            return outcome
        if type(asked) is Evict:
            self._local.close_replaced(asked.connection_id)
        else:
            self._local.look_again(asked.connection_id)
        return Outcome.DELIVERED

    # The hot path

    def _parcel(self, flow: Flow, mail: Mail) -> Parcel:
        now = self._now()
        until = now + PATIENCE_S if mail.correlation_id else min(mail.ends_at(now), now + _QUIET_PATIENCE_S)
        return Parcel(mail, flow, until)

    def _post(self, flow: Flow, route: Route, parcel: Parcel) -> None:
        parcel.connection_id = route.connection_id
        if self._links.send(route.node, route.head + parcel.mail.frame, flow, parcel, parcel.until):
            flow.outstanding += 1
            if self._ticking is None:
                self._tick_soon()
        else:
            self._local.answer(parcel.mail, _full(), "full")

    def _say(self, node: str, body: bytes, patience_s: float = PATIENCE_S) -> bool:
        """Say something whose outcome nobody waits for; False when too much is on its way there."""
        is_sent = self._links.send(node, body, body, None, self._now() + patience_s)
        if not is_sent:
            self._local.stats.publish_unreachable += 1
        self._tick_soon()
        return is_sent

    def _tick_soon(self) -> None:
        if self._ticking is None and self._group is not None and self.pending:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        self.expire()
        self._tick_soon()

    # What has to wait

    def _wake(self, flow: Flow) -> None:
        if flow.is_working:
            return
        flow.is_working = True
        self._working[flow] = None
        if self._group is None:
            return
        work = self._work(flow)
        try:
            self._group.create_task(work)
        except RuntimeError:  # the group is ending: it waits for the next start
            work.close()
            self._group = None
        self._tick_soon()

    async def _work(self, flow: Flow) -> None:
        while True:
            if flow.is_suspect:
                await self._check(flow)
            elif flow.route is None and flow.outstanding:
                await self._next_turn()
            elif flow.returned:
                await self._route(flow, flow.returned.popleft())
            elif flow.queue:
                work = self._flows.take(flow)
                await (self._route(flow, work) if isinstance(work, Parcel) else work())
            else:
                break
        flow.is_working = False
        del self._working[flow]
        if not self._local.is_here(flow.channel):
            flow.route = None
        if flow.route is None:
            self._flows.forget(flow)

    async def _next_turn(self) -> None:
        self._turn.clear()
        await self._turn.wait()

    async def _check(self, flow: Flow) -> None:
        """Is the recipient still where the link goes? If not, take back what is on its way there."""
        flow.is_suspect = False
        route = flow.route
        if route is None or flow.recipient is None:
            return
        try:
            holder = await self._errands.locate(flow.channel, flow.recipient, self._now() + HOLD_S)
        except PresenceUnavailableError:
            return
        if flow.route is route and (holder is None or holder.connection_id != route.connection_id):
            flow.route = None
            self._links.withdraw(route.node, flow)

    def _answer_late(self, flow: Flow, until: float) -> None:
        """What waits behind something that takes long, and whose sender must be told something by now."""
        for parcel in self._flows.take_late(flow, until):
            self._local.answer(parcel.mail, failures.unreachable(), "unreachable")

    async def _route(self, flow: Flow, parcel: Parcel) -> None:
        flow.routing = parcel
        try:
            await self._bring(flow, parcel)
        finally:
            flow.routing = None

    async def _bring(self, flow: Flow, parcel: Parcel) -> None:
        mail = parcel.mail
        if self._local.deliver(mail):
            return
        now = self._now()
        if parcel.until <= now:
            if parcel.is_known and not parcel.is_late(now - HOLD_S):
                await self._hold(flow, parcel)
            else:
                self._local.answer(mail, failures.unreachable(), "unreachable")
            return
        if flow.route is None:
            try:
                holder = await self._errands.find(mail, parcel.until)
            except PresenceUnavailableError:
                self._local.answer(mail, failures.away(), "unreachable")
                return
            parcel.is_known = parcel.is_known or holder is not None
            if holder is None or holder.node == self._node or holder.connection_id == flow.refused_by:
                # Ours but not in the table: it is coming in or going out, and the mailbox bridges that.
                await self._hold(flow, parcel)
                return
            if not self._lead(mail, holder):
                self._local.answer(mail, _full(), "full")
                return
            flow.route = Route.of(holder)
        self._post(flow, flow.route, parcel)

    def _lead(self, mail: Mail, holder: Holder) -> bool:
        """Have what is held for the recipient fetched before this mail comes; False when the link takes nothing more.

        Presence may have forgotten the recipient when that was held, and know again that it was there all the time.
        """
        if not self._local.keeps_for(mail.channel, mail.recipient):
            return True
        return self._say(holder.node, envelope.encode(Collect(holder.connection_id)), _QUIET_PATIENCE_S)

    async def _hold(self, flow: Flow, parcel: Parcel) -> None:
        mail = parcel.mail
        holder = await self._errands.hold(mail, parcel.until, is_known=parcel.is_known)
        if holder is None or holder.connection_id == flow.refused_by:
            return
        if holder.node == self._node:
            await self._local.collect(mail.channel, mail.recipient)
        else:
            self._say(holder.node, envelope.encode(Collect(holder.connection_id)), _QUIET_PATIENCE_S)


def _full() -> ServiceError:
    return failures.full("messages_on_their_way_to_a_node", WINDOW)
