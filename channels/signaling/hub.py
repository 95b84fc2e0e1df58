"""The connections of one node: admission, direct relay between them, deadlines, drain. The truth about its sockets.

What is not on this node goes through `exchange`; the rules of one connection are in `protocol`.
"""

import asyncio
import itertools
import random
import secrets
from collections.abc import Callable
from typing import Final

from channels.bus import Bus
from channels.channel import Channel
from channels.errors import ClientLimitExceededException, ServiceError, ServiceUnavailableException
from channels.names import ChannelArn, Role
from channels.presence import Admission, Presence
from channels.signaling import messages
from channels.signaling.exchange import Exchange
from channels.signaling.gate import Gates, channel_is_full
from channels.signaling.limits import Limits
from channels.signaling.mailbox import InProcessMailbox, Mail, Mailbox
from channels.signaling.members import Connect, Connection, Member, Members
from channels.signaling.protocol import GOING_AWAY, MASTER, Address, Forward, Refuse, status_of
from channels.signaling.revoked import Revoked
from channels.signaling.stats import HubStats
from channels.signaling.timetable import Timetable

_REPLACED: Final = {
    Role.MASTER: "replaced by a newer master",
    Role.VIEWER: "replaced by a newer connection of this client id",
}
NORMAL: Final = 1000
POLICY_VIOLATION: Final = 1008
TOO_SLOW: Final = 1008


class Hub:
    """The signaling plane of one node."""

    def __init__(
        self,
        bus: Bus,
        presence: Presence,
        limits: Limits,
        node: str,
        now: Callable[[], float],
        mailbox: Mailbox | None = None,
    ) -> None:
        self.limits = limits
        self._presence = presence
        self._node = node
        self._now = now
        self._mailbox = InProcessMailbox(limits, now) if mailbox is None else mailbox
        self._exchange = Exchange(node, bus, presence, self._mailbox, self)
        self._members = Members()
        self._gates = Gates(limits)
        self._coming: set[str] = set()  # ids of connections that wait for their admission
        self._timetable = Timetable(now)
        self._revoked = Revoked()
        self.stats = HubStats()
        self._ids = (f"{node}-{secrets.token_hex(4)}-{number}" for number in itertools.count())
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """Whether this node admits nobody any more."""
        return self._is_draining

    @property
    def is_busy(self) -> bool:
        """Whether a message is on its way to another node or to the mailbox."""
        return len(self._exchange) > 0

    @property
    def leftovers(self) -> int:
        """How many entries all tables hold together; 0 when nobody is connected and nothing waits."""
        tables = (self._members, self._timetable, self._exchange, self._gates)
        return sum(len(table) for table in tables)

    async def run(self) -> None:
        """Listen to other nodes, keep the deadlines, work off what is not local; until cancelled."""
        await self._exchange.listen()
        try:
            async with asyncio.TaskGroup() as group:
                self._exchange.start(group)
                group.create_task(self._timetable.run(self.expire))
        finally:
            await self._exchange.stop()

    async def check_admission(self, channel: Channel, role: Role, client_id: str) -> None:
        """Refuse what `connect` would refuse now, without taking anything.

        Raises: ClientLimitExceededException (its `limit` says which), ServiceUnavailableException (draining).
        """
        name = str(channel.arn)
        self._refuse_while_draining()
        self._gates.check(name, role, self._now())
        is_full = role is Role.VIEWER and await self._presence.count(name) >= self.limits.viewers_per_channel
        if is_full and await self._presence.locate(name, role, client_id) is None:
            raise channel_is_full(self.limits)

    async def connect(self, connect: Connect, connection: Connection) -> Member:
        """Admit a connection, close the one it replaces, deliver what was held for it. The newest wins.

        Raises: ClientLimitExceededException (the limit is named), ServiceUnavailableException (draining),
        UnrecognizedClientException (the credential was revoked since it was verified).
        """
        self._refuse_now(connect)
        connection_id = next(self._ids)
        self._coming.add(connection_id)
        try:
            admission = await self._admit(connect, connection_id)
        finally:
            is_replaced = connection_id not in self._coming
            self._coming.discard(connection_id)
        member = Member(connect, connection, admission.holder, connect.rules(self.limits, self._now()))
        self._members.add(member)
        self._count_members()
        self._timetable.arm(member)
        self.stats.count_admission(member.role, "replaced" if admission.replaced else "admitted")
        try:
            if admission.replaced is not None:
                self._gates.note_replaced(connect, self._now())
                await self._exchange.evict(admission.replaced)
            self._refuse_now(connect)  # it may have become so while we waited
            if is_replaced:
                self.close_replaced(connection_id)
            else:
                await self._collect(member)
        except BaseException:
            await self.disconnect(member)
            raise
        return member

    async def _admit(self, connect: Connect, connection_id: str) -> Admission:
        role, name = connect.role, connect.role.value.lower()
        try:
            self._gates.take(connect, self._now())
        except ClientLimitExceededException:
            self.stats.count_admission(name, "rate")
            raise
        client_id = "" if role is Role.MASTER else connect.client_id
        channel, limit = str(connect.channel.arn), self.limits.viewers_per_channel
        admission = await self._presence.admit(channel, role, client_id, connection_id, limit)
        if admission is None:
            self._gates.give_back(connect)
            self.stats.count_admission(name, "full")
            raise channel_is_full(self.limits)
        return admission

    def receive(self, member: Member, frame: str) -> None:
        """Work on one text frame of this connection: relay it, answer it, or nothing. Never blocks."""
        if self._members.get(member.id) is None:
            return  # closed by us; what still comes in is void
        now = self._now()
        effect = member.rules.receive(frame, now)
        if effect is None:
            return
        if type(effect) is Forward:
            self._forward(member, effect, now)
        elif type(effect) is Refuse:
            self.stats.count_message(member.role, effect.action, effect.result)
            if effect.status is not None:
                self._hand(member, messages.encode_status(effect.status))

    def close(self, member: Member, code: int, reason: str) -> None:
        """Close a connection; nothing is delivered to it any more. Its owner gives the slot back."""
        self._forget(member)
        member.connection.close(code, reason)

    async def disconnect(self, member: Member) -> None:
        """Forget a connection whose socket is gone and give its slot back. Twice is harmless."""
        self._forget(member)
        if member.address.role is Role.VIEWER:
            await self._mailbox.remember(member.channel, member.address.client_id, member.ttl_s)
        await self._presence.leave(member.channel, member.holder)

    def close_channel(self, arn: ChannelArn, code: int = GOING_AWAY, reason: str = "the channel was deleted") -> None:
        """Close the channel's connections on every node and drop what is held for it."""
        channel = str(arn)
        self.close_here(channel, code, reason)
        self._exchange.close_channel(channel, code, reason)

    def update_channel(self, channel: Channel) -> None:
        """Take over a changed time to live for what this channel's connections on this node send from now on."""
        for member in self._members.of(str(channel.arn)):
            member.ttl_s = float(channel.message_ttl_s)

    def close_credentials(
        self, ids: frozenset[str], code: int = POLICY_VIOLATION, reason: str = "the credential was revoked"
    ) -> None:
        """Close this node's connections that hang on one of these credentials, and admit none any more."""
        self._revoked.add(ids, self._now())
        for member in self._members.bearing(ids):
            self.close(member, code, reason)

    def now(self) -> float:
        """The monotonic seconds of this hub, in which `Connect.expires_at` is."""
        return self._now()

    def clock_moved(self, by_s: float) -> None:
        """`now` jumped forward by `by_s`: what became due is done at once. The end of a credential is real time."""
        for member in self._members:
            member.rules.postpone_expiry(by_s)
        self.expire()
        self._timetable.look_again()

    async def drain(self, over_s: float) -> None:
        """Admit nobody any more and close all connections with 1001, spread evenly with jitter over `over_s`.

        Slots are given back first, so that a client that reconnects elsewhere finds its own free.
        """
        self._is_draining = True
        members = list(self._members)
        random.shuffle(members)
        step_s = over_s / len(members) if members else 0.0
        for member in members:
            if step_s > 0.0:
                await asyncio.sleep(step_s * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load, hides nothing
            await self._presence.leave(member.channel, member.holder)
            self.close(member, GOING_AWAY, "this node is going away")

    def expire(self) -> None:
        """Do what is due: close idle and old connections, report messages whose time is over."""
        now = self._now()
        for due in self._timetable.due(now):
            if isinstance(due, Mail):
                self._exchange.expire(due)
            else:
                self._expire(due, now)
        self._gates.tidy(now)
        self._revoked.tidy(now)

    # What the exchange asks for

    def deliver(self, mail: Mail) -> bool:
        """Hand the mail to a recipient on this node; False when there is none."""
        member = self._members.find(mail.channel, mail.recipient)
        if member is None:
            return False
        if self._hand(member, mail.frame):
            self.count(mail, "relayed")
        else:
            self.answer(mail, _too_slow(), "slow")
        return True

    async def collect(self, channel: str, recipient: Address) -> None:
        """Bring a recipient on this node what the mailbox holds for it."""
        member = self._members.find(channel, recipient)
        if member is not None:
            await self._collect(member)

    def keep_time(self, mail: Mail) -> None:
        """Report the mail's expiry when its time is over, unless a newer one takes its place."""
        self._timetable.keep(mail)

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        """Count the failure, and tell the sender if it gave a correlation id."""
        self.count(mail, result)
        if not mail.correlation_id:
            return
        frame = messages.encode_status(status_of(error, mail.correlation_id))
        if mail.node == self._node:
            self.hand(mail.connection_id, frame)
        else:
            self._exchange.answer(mail, frame)

    def hand(self, connection_id: str, frame: bytes) -> None:
        """Give a frame to a connection of this node, if it is still there."""
        member = self._members.get(connection_id)
        if member is not None:
            self._hand(member, frame)

    def has(self, channel: str, recipient: Address, fence: int) -> bool:
        """Whether the recipient is here and holds its slot with this very fence."""
        member = self._members.find(channel, recipient)
        return member is not None and member.holder.fence == fence

    def close_replaced(self, connection_id: str) -> None:
        """A newer connection took the slot of this one, perhaps before this one heard that it had it."""
        self._coming.discard(connection_id)
        member = self._members.get(connection_id)
        if member is not None:
            self.close(member, NORMAL, _REPLACED[member.address.role])

    def close_here(self, channel: str, code: int, reason: str) -> None:
        """Close the connections of a channel on this node."""
        for member in self._members.of(channel):
            self.close(member, code, reason)

    def count(self, mail: Mail, result: str) -> None:
        """Count the outcome of a mail."""
        self.stats.count_message(mail.sender.role.value.lower(), mail.action.value, result)

    # Relay

    def _forward(self, member: Member, forward: Forward, now: float) -> None:
        message, recipient = forward.message, forward.recipient
        frame = messages.encode(message, member.address.client_id if recipient is MASTER else None)
        target = self._members.find(member.channel, recipient)
        if target is None or self._exchange.is_busy(member.channel, recipient):
            self._exchange.send(self._mail(member, forward, frame))
        elif self._hand(target, frame):
            self.stats.count_message(member.role, message.action.value, "relayed")
            self.stats.observe_delivery(self._now() - now)
        else:
            self.answer(self._mail(member, forward, frame), _too_slow(), "slow")

    def _mail(self, member: Member, forward: Forward, frame: bytes) -> Mail:
        return Mail(
            id=next(self._ids),
            channel=member.channel,
            recipient=forward.recipient,
            sender=member.address,
            action=forward.message.action,
            frame=frame,
            correlation_id=forward.message.correlation_id,
            ttl_s=member.ttl_s,
            node=self._node,
            connection_id=member.id,
        )

    def _hand(self, member: Member, frame: bytes) -> bool:
        """Give a frame to a connection of this node, after what is held for it; one that is too slow is closed."""
        if not member.waits:
            return self._push(member, frame)
        if member.wait(frame, self.limits.queued_bytes_per_connection):
            return True
        self._too_slow(member)
        return False

    def _push(self, member: Member, frame: bytes) -> bool:
        if member.connection.send(frame):
            member.rules.touch(self._now())
            return True
        self._too_slow(member)
        return False

    def _too_slow(self, member: Member) -> None:
        if self._members.get(member.id) is not None:
            self.stats.slow_closed += 1
            self.close(member, TOO_SLOW, "too slow")

    async def _collect(self, member: Member) -> None:
        """Deliver what is held; what is relayed meanwhile comes after it."""
        member.waits += 1
        try:
            mails = await self._mailbox.take(member.channel, member.address)
        finally:
            member.waits -= 1
        is_gone = self._members.get(member.id) is None
        for mail in mails:
            self._timetable.stop_keeping(mail)
            if is_gone:
                self._exchange.pass_on(mail)  # closed meanwhile: it is for whoever comes next
            elif not self._push(member, mail.frame):
                self.answer(mail, _too_slow(), "slow")
        if not member.waits:
            for frame in member.release():
                self._push(member, frame)

    # Coming and going

    def _refuse_now(self, connect: Connect) -> None:
        self._refuse_while_draining()
        self._revoked.refuse(connect.credential_ids)

    def _refuse_while_draining(self) -> None:
        if self._is_draining:
            raise ServiceUnavailableException("this node is going away: connect again, another one answers")

    def _forget(self, member: Member) -> None:
        self._members.remove(member)
        self._count_members()
        self._timetable.forget(member)

    def _count_members(self) -> None:
        self.stats.masters = self._members.masters
        self.stats.viewers = len(self._members) - self._members.masters

    def _expire(self, member_id: str, now: float) -> None:
        member = self._members.get(member_id)
        if member is None:
            return
        close = member.rules.expire(now)
        if close is None:
            self._timetable.arm(member)
        else:
            self.close(member, close.code, close.reason)


def _too_slow() -> ServiceError:
    return ServiceUnavailableException("the recipient does not read what it is sent and was closed: send it again")
