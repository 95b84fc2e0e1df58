"""Messages between the connections of one node and everybody else: direct relay, what is held, what failed.

What is not on this node goes through `exchange`. Who may come in, and when who has to go, `hub` decides.
"""

import itertools
import secrets
from collections.abc import Callable
from typing import Final

from channels.bus import Bus
from channels.errors import ServiceError, ServiceUnavailableException
from channels.names import Role
from channels.presence import Presence
from channels.signaling import messages
from channels.signaling.exchange import Exchange
from channels.signaling.limits import Limits
from channels.signaling.mailbox import Mail, Mailbox
from channels.signaling.members import Member, Members
from channels.signaling.protocol import MASTER, NORMAL, TOO_SLOW, Address, Forward, status_of
from channels.signaling.stats import HubStats
from channels.signaling.timetable import Timetable

_REPLACED: Final = {
    Role.MASTER: "replaced by a newer master",
    Role.VIEWER: "replaced by a newer connection of this client id",
}


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
        self.coming: set[str] = set()  # ids of connections that wait for their admission
        self.exchange = Exchange(node, bus, presence, mailbox, self)
        self._mailbox = mailbox
        self._limits = limits
        self._node = node
        self._now = now
        self._ids = (f"{node}-{secrets.token_hex(4)}-{number}" for number in itertools.count())

    def next_id(self) -> str:
        """An id that nothing else has, here or on another node."""
        return next(self._ids)

    def add(self, member: Member) -> None:
        """Take a connection in."""
        self.members.add(member)
        self._count_members()
        self.timetable.arm(member)

    def close(self, member: Member, code: int, reason: str) -> None:
        """Close a connection; nothing is delivered to it any more."""
        self.forget(member)
        member.connection.close(code, reason)

    def forget(self, member: Member) -> None:
        """Deliver nothing to this connection any more. Twice is harmless."""
        self.members.remove(member)
        self._count_members()
        self.timetable.forget(member)

    def forward(self, member: Member, forward: Forward, now: float) -> None:
        """Bring a message to its recipient, wherever it is, or hold it."""
        message, recipient = forward.message, forward.recipient
        frame = messages.encode(message, member.address.client_id if recipient is MASTER else None)
        target = self.members.find(member.channel, recipient)
        if target is None or self.exchange.is_busy(member.channel, recipient):
            self.exchange.send(self._mail(member, forward, frame))
        elif self._push(target, frame, now) if not target.waits else self.give(target, frame):
            self.stats.count_message(member.role, message.action, "relayed")
            self.stats.observe_delivery(self._now() - now)
        else:
            self.answer(self._mail(member, forward, frame), _too_slow(), "slow")

    def give(self, member: Member, frame: bytes) -> bool:
        """Give a frame to a connection of this node, after what is held for it; one that is too slow is closed."""
        if not member.waits:
            return self._push(member, frame)
        if member.wait(frame, self._limits.queued_bytes_per_connection):
            return True
        self._too_slow(member)
        return False

    async def collect_for(self, member: Member) -> None:
        """Deliver what is held; what is relayed meanwhile comes after it."""
        member.waits += 1
        try:
            mails = await self._mailbox.take(member.channel, member.address)
        finally:
            member.waits -= 1
        is_gone = self.members.get(member.id) is None
        for mail in mails:
            self.timetable.stop_keeping(mail)
            if is_gone:
                self.exchange.pass_on(mail)  # closed meanwhile: it is for whoever comes next
            elif not self._push(member, mail.frame):
                self.answer(mail, _too_slow(), "slow")
        if not member.waits:
            for frame in member.release():
                self._push(member, frame)

    # What the exchange asks for

    def deliver(self, mail: Mail) -> bool:
        """Hand the mail to a recipient on this node; False when there is none."""
        member = self.members.find(mail.channel, mail.recipient)
        if member is None:
            return False
        if self.give(member, mail.frame):
            self.count(mail, "relayed")
        else:
            self.answer(mail, _too_slow(), "slow")
        return True

    async def collect(self, channel: str, recipient: Address) -> None:
        """Bring a recipient on this node what the mailbox holds for it."""
        member = self.members.find(channel, recipient)
        if member is not None:
            await self.collect_for(member)

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

    def has(self, channel: str, recipient: Address, fence: int) -> bool:
        """Whether the recipient is here and holds its slot with this very fence."""
        member = self.members.find(channel, recipient)
        return member is not None and member.holder.fence == fence

    def close_replaced(self, connection_id: str) -> None:
        """A newer connection took the slot of this one, perhaps before this one heard that it had it."""
        self.coming.discard(connection_id)
        member = self.members.get(connection_id)
        if member is not None:
            self.close(member, NORMAL, _REPLACED[member.address.role])

    def close_here(self, channel: str, code: int, reason: str) -> None:
        """Close the connections of a channel on this node."""
        for member in self.members.of(channel):
            self.close(member, code, reason)

    def count(self, mail: Mail, result: str) -> None:
        """Count the outcome of a mail."""
        self.stats.count_message(mail.sender.role.value.lower(), mail.action.value, result)

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

    def _push(self, member: Member, frame: bytes, now: float | None = None) -> bool:
        if member.connection.send(frame):
            member.rules.touch(self._now() if now is None else now)
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


def _too_slow() -> ServiceError:
    return ServiceUnavailableException("the recipient does not read what it is sent and was closed: send it again")
