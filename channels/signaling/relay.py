"""Messages between the connections of one node and everybody else: direct relay, what is held, what failed.

What is not on this node goes through `exchange`. Who may come in, and when who has to go, `hub` decides.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

from channels.bus import Bus
from channels.errors import ServiceError
from channels.names import Role
from channels.presence import Presence
from channels.signaling import failures, messages
from channels.signaling.exchange import Exchange
from channels.signaling.limits import Limits
from channels.signaling.mailbox import Mail, Mailbox, MailboxUnavailableError
from channels.signaling.members import Member, Members, Settle
from channels.signaling.node_link import Outcome
from channels.signaling.protocol import MASTER, NORMAL, TOO_SLOW, Address, Forward, status_of
from channels.signaling.stats import HubStats
from channels.signaling.timetable import Timetable

_REPLACED: Final = {
    Role.MASTER: "replaced by a newer master",
    Role.VIEWER: "replaced by a newer connection of this client id",
}
_DELIVERED: Final = Outcome.DELIVERED


class Relay:
    """The connections of one node and what goes between them; `exchange` asks it for what is here."""

    def __init__(
        self,
        bus: Bus,
        presence: Presence,
        mailbox: Mailbox,
        limits: Limits,
        node: str,
        now: Callable[[], float],
    ) -> None:
        self.members = Members()
        self.timetable = Timetable(now)
        self.stats = HubStats()
        self.look_later: Callable[[Member], None] = lambda member: None  # called when the mailbox did not answer
        # Connections that wait for their admission, and what was said to them already.
        self._coming: dict[str, list[tuple[bytes, Settle]]] = {}
        self._leaving: dict[str, asyncio.Event] = {}  # connections that left while something held was fetched for them
        self.exchange = Exchange(node, bus, presence, mailbox, self, now)
        self._mailbox = mailbox
        self._limits = limits
        self._node = node
        self._now = now
        self._id_head = f"{node}-{secrets.token_hex(4)}-"
        self._numbers = itertools.count()

    def next_id(self) -> str:
        """An id that nothing else has, here or on another node."""
        return f"{self._id_head}{next(self._numbers)}"

    def expect(self) -> str:
        """The id of a connection that waits for its admission."""
        connection_id = self.next_id()
        self._coming[connection_id] = []
        return connection_id

    @property
    def is_expecting(self) -> bool:
        """Whether a connection waits for its admission."""
        return bool(self._coming)

    def dismiss(self, connection_id: str) -> bool:
        """A connection that was expected is not coming; False when none was."""
        parked = self._coming.pop(connection_id, None)
        for _, settle in parked or ():
            settle(Outcome.ABSENT)
        return parked is not None

    def add(self, member: Member) -> bool:
        """Take a connection in; False when it was not expected, or was replaced since."""
        self.members.add(member)
        self._count_members()
        self.timetable.arm(member)
        parked = self._coming.pop(member.id, None)
        for frame, settle in parked or ():
            self._keep(member, frame, settle)
        self.exchange.came(member.channel, member.address)
        return parked is not None

    def close(self, member: Member, code: int, reason: str) -> None:
        """Close a connection; nothing is delivered to it any more."""
        self.forget(member)
        member.connection.close(code, reason)

    def forget(self, member: Member) -> None:
        """Deliver nothing to this connection any more. Twice is harmless."""
        if not self.members.remove(member):
            return
        self._count_members()
        self.timetable.forget(member)
        if member.waits:  # what is held comes back first, then what waits behind it, and last what is said meanwhile
            is_released = self._leaving[member.id] = asyncio.Event()
            self.exchange.put(member.channel, member.address, partial(self._until, is_released))
        if not self.members.has(member.channel):
            self.exchange.left(member.channel)

    def forward(self, member: Member, forward: Forward, now: float) -> None:
        """Bring a message to its recipient, wherever it is, or hold it."""
        message, recipient = forward.message, forward.recipient
        frame = messages.encode(message, member.address.client_id if recipient is MASTER else None)
        target = member.slots.get(recipient)
        if target is None or self.exchange.is_busy(member.channel, recipient):
            self.exchange.send(self._mail(member, forward, frame))
        elif target.waits:
            mail = self._mail(member, forward, frame)
            self._keep(target, frame, partial(self._waited, mail))
        elif target.connection.send(frame):
            target.rules.heard_at = now
            self.stats.count_relayed(member.role, message.action, self._now() - now)
        else:
            self._too_slow(target)
            self.answer(self._mail(member, forward, frame), failures.slow(), "slow")

    def forward_late(self, member: Member, forward: Forward) -> None:
        """Bring a message on whose sender was closed before it was read; nobody is there to be told of it."""
        frame = messages.encode(forward.message, member.address.client_id if forward.recipient is MASTER else None)
        self.exchange.send(self._mail(member, forward, frame))

    def underway(self) -> set[str]:
        """The ids of the connections that wait for what becomes of something they said."""
        waiting = {member.channel for member in self.members if member.waits}  # for a recipient that is coming in
        behind = {member.id for channel in waiting for member in self.members.of(channel)}
        return behind | self.exchange.underway()

    def give(self, member: Member, frame: bytes) -> bool:
        """Give a frame to a connection of this node, after what is held for it; one that is too slow is closed."""
        if not member.waits:
            return self._push(member, frame)
        return self._keep(member, frame, None)

    async def collect_for(self, member: Member) -> None:
        """Deliver what is held; what is relayed meanwhile comes after it. Raises: MailboxUnavailableError.

        What is relayed meanwhile is turned away then, to be held in its turn: something older may still be held.
        """
        member.waits += 1
        try:
            try:
                mails = await self._mailbox.take(member.channel, member.address)
            except MailboxUnavailableError:
                self._turn_away(member)
                raise
            is_gone = self.members.get(member.id) is None
            for mail in mails:
                self.timetable.stop_keeping(mail)
                if is_gone:
                    self.exchange.pass_on(mail)  # closed meanwhile: it is for whoever comes next
                elif not self._push(member, mail.frame):
                    self.answer(mail, failures.slow(), "slow")
        finally:
            member.waits -= 1
            if not member.waits:
                self._release(member)

    # What the exchange asks for

    def deliver(self, mail: Mail) -> bool:
        """Hand the mail to a recipient on this node; False when there is none."""
        member = self.members.find(mail.channel, mail.recipient)
        if member is None:
            return False
        if member.waits:
            self._keep(member, mail.frame, partial(self._waited, mail))
        else:
            self._waited(mail, Outcome.DELIVERED if self._push(member, mail.frame) else Outcome.SLOW)
        return True

    def accept(self, connection_id: str, frame: bytes) -> Outcome | None:
        """Hand the frame to this connection; None when it has to `park`, because the connection is coming in."""
        member = self.members.get(connection_id)
        if member is None:
            return None if connection_id in self._coming else Outcome.ABSENT
        if member.waits:
            return None
        if member.connection.send(frame):  # as `_push` does it
            member.rules.heard_at = self._now()
            return _DELIVERED
        self._too_slow(member)
        return Outcome.SLOW

    def park(self, connection_id: str, frame: bytes, settle: Settle) -> None:
        """Hand the frame to this connection when it is in, and tell what became of it."""
        member = self.members.get(connection_id)
        if member is not None:
            self._keep(member, frame, settle)
        elif connection_id in self._coming:
            self._coming[connection_id].append((frame, settle))
        else:
            settle(Outcome.ABSENT)

    async def collect(self, channel: str, recipient: Address) -> None:
        """Bring a recipient on this node what the mailbox holds for it."""
        member = self.members.find(channel, recipient)
        if member is not None:
            await self._collect(member)

    def look_again(self, connection_id: str) -> None:
        """Bring a connection what the mailbox holds for it, before what is said to it from now on."""
        member = self.members.get(connection_id)
        if member is not None:
            member.waits += 1
            self.exchange.put(member.channel, member.address, partial(self._look_again, member))

    def is_here(self, channel: str) -> bool:
        """Whether a connection of this channel is on this node."""
        return self.members.has(channel)

    def keeps_for(self, channel: str, recipient: Address) -> bool:
        """Whether mail from here may still be held for this recipient."""
        return self.timetable.keeps_for(channel, recipient)

    def keep_time(self, mail: Mail) -> None:
        """Report the mail's expiry when its time is over, unless a newer one takes its place."""
        self.timetable.keep(mail)

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        """Count the failure, and tell the sender if it gave a correlation id."""
        self.count(mail, result)
        if not mail.correlation_id:
            return
        frame = messages.encode_status(status_of(error, mail.correlation_id))
        if mail.node == self._node:
            self.hand(mail.connection_id, frame)
        else:
            self.exchange.answer(mail, frame)

    def hand(self, connection_id: str, frame: bytes) -> None:
        """Give a frame to a connection of this node, if it is still there."""
        member = self.members.get(connection_id)
        if member is not None:
            self.give(member, frame)

    def close_replaced(self, connection_id: str) -> None:
        """A newer connection took the slot of this one, perhaps before this one heard that it had it."""
        self.dismiss(connection_id)
        member = self.members.get(connection_id)
        if member is not None:
            self.close(member, NORMAL, _REPLACED[member.address.role])

    def close_here(self, channel: str, code: int, reason: str) -> None:
        """Close the connections of a channel on this node."""
        for member in self.members.of(channel):
            self.close(member, code, reason)

    def count(self, mail: Mail, result: str) -> None:
        """Count the outcome of a mail."""
        self.stats.count_message(mail.sender.role.counted, mail.action, result)

    def _mail(self, member: Member, forward: Forward, frame: bytes) -> Mail:
        return Mail(
            id=self.next_id(),
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

    async def _look_again(self, member: Member) -> None:
        try:
            await self._collect(member)
        finally:
            member.waits -= 1
            if not member.waits:
                self._release(member)

    async def _collect(self, member: Member) -> None:
        try:
            await self.collect_for(member)
        except MailboxUnavailableError:
            self.stats.mailbox_unavailable += 1
            self.look_later(member)

    def _keep(self, member: Member, frame: bytes, settle: Settle | None) -> bool:
        """Have a frame wait until what is held has gone out; False when too much waits."""
        if member.wait(frame, self._limits.queued_bytes_per_connection, settle):
            return True
        if settle is not None:
            settle(Outcome.SLOW)
        self._too_slow(member)
        return False

    def _release(self, member: Member) -> None:
        was_in = member.is_in
        for frame, settle in member.release():
            is_given = was_in and self._push(member, frame)
            if settle is not None:
                settle(Outcome.DELIVERED if is_given else Outcome.SLOW if was_in else Outcome.ABSENT)
        is_released = self._leaving.pop(member.id, None)
        if is_released is not None:
            is_released.set()

    def _turn_away(self, member: Member) -> None:
        """What waits for this connection comes back to it another way, but for answers: they overtake nothing."""
        for frame, settle in member.release():
            if settle is not None:
                settle(Outcome.ABSENT)
            elif member.is_in:
                self._push(member, frame)

    async def _until(self, event: asyncio.Event) -> None:
        await event.wait()

    def _waited(self, mail: Mail, outcome: Outcome) -> None:
        """What became of a mail for a recipient on this node."""
        if outcome is Outcome.DELIVERED:
            self.count(mail, "relayed")
        elif outcome is Outcome.SLOW:
            self.answer(mail, failures.slow(), "slow")
        else:
            self.exchange.pass_on(mail)

    def _push(self, member: Member, frame: bytes) -> bool:
        if member.connection.send(frame):
            member.rules.heard_at = self._now()
            return True
        self._too_slow(member)
        return False

    def _too_slow(self, member: Member) -> None:
        if self.members.get(member.id) is not None:
            self.stats.slow_closed += 1
            self.close(member, TOO_SLOW, "too slow")

    def _count_members(self) -> None:
        self.stats.masters = self.members.masters
        self.stats.viewers = len(self.members) - self.members.masters
