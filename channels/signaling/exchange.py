"""All that goes between this node, the others and the mailbox: find, publish, hold, and do what others ask.

Local relays never come here. Each recipient with work has one lane, so that what one sender sends stays in order, and a
lookup or a node that does not answer delays nobody else.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from channels.bus import Bus
from channels.errors import ClientLimitExceededException, Limit, ServiceError, ServiceUnavailableException
from channels.presence import Holder, Presence
from channels.signaling.envelope import (
    EVERY_NODE,
    Answer,
    Collect,
    Deliver,
    Envelope,
    EnvelopeError,
    Evict,
    Gone,
    decode,
    encode,
    inbox,
)
from channels.signaling.mailbox import Mail, Mailbox
from channels.signaling.protocol import Address
from channels.signaling.stats import HubStats

_TRIES: Final = 4
_RETRY_S: Final = 0.3  # three waits: an error comes within a second
_HOPS: Final = 3
_WAITING_LIMIT: Final = 1024  # messages per channel
Work = Callable[[], Awaitable[None]]
Lane = tuple[str, Address | None]  # channel and recipient; None for what concerns the whole channel


class Local(Protocol):
    """The node's own connections, as the exchange needs them."""

    stats: HubStats

    def deliver(self, mail: Mail) -> bool:
        """Hand the mail to a recipient on this node; False when there is none."""

    async def collect(self, channel: str, recipient: Address) -> None:
        """Bring a recipient on this node what the mailbox holds for it."""

    def keep_time(self, mail: Mail) -> None:
        """The mail is held: call `Exchange.expire` when its time is over."""

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        """The mail failed: tell its sender, wherever it is, if it wants to know."""

    def count(self, mail: Mail, result: str) -> None:
        """Count the outcome of a mail."""

    def has(self, channel: str, recipient: Address, fence: int) -> bool:
        """Whether the recipient is here and holds its slot with this very fence."""

    def hand(self, connection_id: str, frame: bytes) -> None:
        """Give a frame to a connection of this node, if it is still there."""

    def close_replaced(self, connection_id: str) -> None:
        """A newer connection took the slot of this one."""

    def close_here(self, channel: str, code: int, reason: str) -> None:
        """Close the connections of a channel on this node."""


class Exchange:
    """Messages between this node's connections and everybody who is not here."""

    def __init__(self, node: str, bus: Bus, presence: Presence, mailbox: Mailbox, local: Local) -> None:
        self._node = node
        self._bus = bus
        self._presence = presence
        self._mailbox = mailbox
        self._local = local
        self._lanes: dict[Lane, deque[Work]] = {}
        self._waiting: dict[str, int] = {}  # work in all lanes of a channel
        self._group: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        """How many lanes have work waiting."""
        return len(self._lanes)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run lanes in `group` from now on; what waited begins."""
        self._group = group
        for lane in self._lanes:
            group.create_task(self._drain(lane))

    async def listen(self) -> None:
        """Receive what other nodes send to this one, and to all."""
        await self._bus.subscribe(inbox(self._node), self.receive)
        await self._bus.subscribe(EVERY_NODE, self.receive)

    async def stop(self) -> None:
        """Listen no more; the group has ended, and what comes now waits for the next start."""
        self._group = None
        await self._bus.unsubscribe(inbox(self._node))
        await self._bus.unsubscribe(EVERY_NODE)

    def receive(self, payload: bytes) -> None:
        """Do what another node asks; bytes that are no envelope are counted and ignored."""
        try:
            received = decode(payload)
        except EnvelopeError:
            self._local.stats.envelopes_refused += 1
            return
        match received:
            case Deliver(mail, fence):
                if self._local.has(mail.channel, mail.recipient, fence) and not self.is_busy(
                    mail.channel, mail.recipient
                ):
                    self._local.deliver(mail)
                else:
                    self.pass_on(mail)
            case Evict(connection_id, _):
                self._local.close_replaced(connection_id)
            case Collect(channel, recipient):
                self.put((channel, recipient), partial(self._local.collect, channel, recipient), is_urgent=True)
            case Answer(connection_id, frame):
                self._local.hand(connection_id, frame)
            case Gone(channel, code, reason):
                self._local.close_here(channel, code, reason)

    async def evict(self, replaced: Holder) -> None:
        """Close the connection that lost its slot, wherever it is."""
        if replaced.node == self._node:
            self._local.close_replaced(replaced.connection_id)
        else:
            await self._publish(inbox(replaced.node), Evict(replaced.connection_id, replaced.fence))

    def is_busy(self, channel: str, recipient: Address) -> bool:
        """Whether a message to this recipient is on its way, so that a later one must not overtake it."""
        return bool(self._lanes) and (channel, recipient) in self._lanes

    def send(self, mail: Mail) -> None:
        """Bring the mail to its recipient, or hold it, or report the failure."""
        if not self.put((mail.channel, mail.recipient), partial(self._route, mail)):
            limit = Limit("waiting_messages_per_channel", _WAITING_LIMIT, 1.0)
            words = f"{limit.name} is {_WAITING_LIMIT} and that many are on their way; try again in 1 s"
            self._local.answer(mail, ClientLimitExceededException(words, limit), "full")

    def pass_on(self, mail: Mail) -> None:
        """The recipient is no longer where the mail was sent to: look for it again, a few times at most."""
        if mail.hops >= _HOPS:
            self._local.answer(mail, _unreachable(), "unreachable")
        else:
            self.send(msgspec.structs.replace(mail, hops=mail.hops + 1))

    def expire(self, mail: Mail) -> None:
        """The mail's time is over: report it, if it is still held."""
        self.put((mail.channel, mail.recipient), partial(self._expire, mail), is_urgent=True)

    def answer(self, mail: Mail, frame: bytes) -> None:
        """Send a status frame to the mail's sender on another node."""
        envelope = Answer(mail.connection_id, frame)
        self.put((mail.channel, mail.sender), partial(self._publish, inbox(mail.node), envelope), is_urgent=True)

    def close_channel(self, channel: str, code: int, reason: str) -> None:
        """Close the channel's connections on all other nodes and drop what is held for it."""
        everywhere = partial(self._publish, EVERY_NODE, Gone(channel, code, reason))
        self.put((channel, None), everywhere, is_urgent=True)
        self.put((channel, None), partial(self._mailbox.drop, channel), is_urgent=True)

    def put(self, lane: Lane, work: Work, *, is_urgent: bool = False) -> bool:
        """Add work to a lane; False when its channel has too much. Urgent work, which is bounded, always fits."""
        channel = lane[0]
        waiting = self._waiting.get(channel, 0)
        if waiting >= _WAITING_LIMIT and not is_urgent:
            return False
        self._waiting[channel] = waiting + 1
        works = self._lanes.get(lane)
        if works is None:
            works = self._lanes[lane] = deque()
            if self._group is not None:
                self._group.create_task(self._drain(lane))
        works.append(work)
        return True

    async def _drain(self, lane: Lane) -> None:
        channel, works = lane[0], self._lanes[lane]
        while works:
            await works[0]()
            works.popleft()
            self._waiting[channel] -= 1
        del self._lanes[lane]
        if not self._waiting[channel]:
            del self._waiting[channel]

    async def _route(self, mail: Mail) -> None:
        if self._local.deliver(mail):
            return
        recipient = mail.recipient
        is_known = False
        for attempt in range(_TRIES):
            holder = await self._presence.locate(mail.channel, recipient.role, recipient.client_id)
            if holder is None or holder.node == self._node:
                # Ours but not in the table: it is coming in or going out, and the mailbox bridges that.
                is_known = is_known or holder is not None
                break
            is_known = True
            if await self._bus.publish(inbox(holder.node), encode(Deliver(mail, holder.fence))):
                self._local.count(mail, "published")
                return
            self._local.stats.publish_unreachable += 1
            if attempt < _TRIES - 1:
                await asyncio.sleep(_RETRY_S)
        await self._hold(mail, is_known)

    async def _hold(self, mail: Mail, is_known: bool) -> None:
        refusal = await self._mailbox.hold(mail, is_expected=is_known)
        if refusal is not None:
            result = "full" if isinstance(refusal, ClientLimitExceededException) else "absent"
            self._local.answer(mail, refusal, result)
            return
        self._local.count(mail, "held")
        self._local.keep_time(mail)
        # Whoever came in before the mail was in the box has looked already: look again for it.
        holder = await self._presence.locate(mail.channel, mail.recipient.role, mail.recipient.client_id)
        if holder is None:
            return
        if holder.node == self._node:
            await self._local.collect(mail.channel, mail.recipient)
        else:
            await self._publish(inbox(holder.node), Collect(mail.channel, mail.recipient))

    async def _expire(self, mail: Mail) -> None:
        if await self._mailbox.withdraw(mail):
            self._local.answer(mail, _expired(mail), "expired")

    async def _publish(self, topic: str, envelope: Envelope) -> None:
        if not await self._bus.publish(topic, encode(envelope)):
            self._local.stats.publish_unreachable += 1


def _unreachable() -> ServiceError:
    return ServiceUnavailableException("the recipient moves between nodes: send the message again")


def _expired(mail: Mail) -> ServiceError:
    who = mail.recipient.client_id or "the master"
    return ServiceUnavailableException(f"{who} did not come within the {mail.ttl_s:g} s that the message was held")
