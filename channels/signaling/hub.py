"""The connections of one node: who comes in, when who has to go, drain. The truth about its sockets.

What they say to each other goes through `relay`; the rules of one connection are in `protocol`.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from channels.bus import Bus
from channels.channel import Channel
from channels.errors import ClientLimitExceededException, ResourceNotFoundException, ServiceUnavailableException
from channels.names import ChannelArn, Role
from channels.presence import Admission, Presence, PresenceUnavailableError
from channels.signaling import messages
from channels.signaling.drain import Drain
from channels.signaling.gate import Gates, channel_is_full
from channels.signaling.leases import Leases, LeaseSettings
from channels.signaling.limits import Limits
from channels.signaling.mailbox import InProcessMailbox, Mail, Mailbox, MailboxUnavailableError
from channels.signaling.members import Connect, Connection, Member
from channels.signaling.messages import Event
from channels.signaling.protocol import GOING_AWAY, POLICY_VIOLATION, Announce, Close, Forward, Refuse
from channels.signaling.relay import Relay
from channels.signaling.revoked import Ended, Revoked

_SETTLE_S: Final = 2.0
_SETTLE_TURN_S: Final = 0.02


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
        self._now = now
        mailbox = InProcessMailbox(limits, now) if mailbox is None else mailbox
        self._node = node
        self._relay = Relay(bus, presence, mailbox, limits, node, now)
        self._exchange, self._timetable = self._relay.exchange, self._relay.timetable
        self._members = self._relay.members
        self._gates = Gates(limits)
        self._revoked = Revoked()
        self._deleted = Ended()
        self.stats = self._relay.stats
        self._leases = Leases(presence, mailbox, self._members, limits.viewers_per_channel, now, self.stats)
        self._leases.lost = partial(
            self.close, code=GOING_AWAY, reason="another connection has taken the slot: connect again"
        )
        self._leases.back = lambda member: self._relay.look_again(member.id)
        self._relay.look_later = self._leases.look_later
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """Whether this node admits nobody any more."""
        return self._is_draining

    @property
    def channels(self) -> frozenset[str]:
        """The ARNs of the channels that have a connection here."""
        return self._members.channels

    @property
    def is_busy(self) -> bool:
        """Whether a message is on its way to another node or to the mailbox."""
        return self._exchange.pending > 0

    @property
    def leases(self) -> int:
        """How many leases this node has, or has still to give back."""
        return len(self._leases)

    @property
    def leftovers(self) -> int:
        """How many entries all tables hold together; 0 when nobody is connected and nothing waits."""
        tables = (self._members, self._timetable, self._exchange, self._gates, self._leases)
        return sum(len(table) for table in tables)

    def configure_leases(self, settings: LeaseSettings) -> None:
        """Take over how leases are kept; before `run`."""
        self._leases.settings = settings

    def reassert(self) -> None:
        """The bus or presence was away: renew every lease and send again what is not acknowledged, now."""
        self._leases.reassert()
        self._exchange.resend()

    async def run(self) -> None:
        """Listen to other nodes, keep deadlines and leases, work off what is not local; until cancelled."""
        await self._exchange.listen()
        try:
            async with asyncio.TaskGroup() as group:
                self._exchange.start(group)
                group.create_task(self._timetable.run(self.expire))
                group.create_task(self._leases.run())
        finally:
            await self._exchange.stop()

    async def check_admission(self, channel: Channel, role: Role, client_id: str) -> None:
        """Refuse what `connect` would refuse now, without taking anything.

        Raises: ClientLimitExceededException (its `limit` says which), ServiceUnavailableException (draining, or
        presence does not answer).
        """
        name = str(channel.arn)
        self._refuse_while_draining()
        self._gates.check(name, role, self._now())
        if role is Role.MASTER:
            return
        limit = self.limits.viewers_per_channel
        try:
            if await self._presence.count(name) >= limit and await self._presence.locate(name, role, client_id) is None:
                raise channel_is_full(self.limits)
        except PresenceUnavailableError:
            if not self._leases.settings.degraded_local:
                raise _presence_is_away() from None

    async def connect(self, connect: Connect, connection: Connection) -> Member:
        """Admit a connection, close the one it replaces, deliver what was held for it. The newest wins.

        Raises: ClientLimitExceededException (the limit is named), ServiceUnavailableException (draining, or presence
        does not answer), UnrecognizedClientException (the credential was revoked since it was verified),
        ResourceNotFoundException (the channel was deleted since it was looked up).
        """
        self._refuse_now(connect)
        connection_id = self._relay.expect()
        try:
            admission, is_local = await self._admit(connect, connection_id)
        except BaseException:
            self._relay.dismiss(connection_id)
            raise
        rules = connect.rules(self.limits, self._now(), random.random())  # noqa: S311  # spreads load, hides nothing
        member = Member(connect, connection, admission.holder, rules)
        self._leases.add(member, is_local=is_local)
        await self._refuse_admitted(member, connect)
        is_replaced = not self._relay.add(member)
        self.stats.count_admission(member.role, "replaced" if admission.replaced else "admitted")
        try:
            if admission.replaced is not None:
                self._gates.note_replaced(connect, self._now())
                self._exchange.evict(admission.replaced)
            if is_replaced:
                self._relay.close_replaced(connection_id)
            elif is_local:
                self._leases.look_later(member)
            else:
                await self._collect(member)
        except BaseException:
            await self.disconnect(member)
            raise
        return member

    async def _refuse_admitted(self, member: Member, connect: Connect) -> None:
        """Refuse what became void while presence was asked; whoever it would have replaced keeps its connection."""
        try:
            self._refuse_now(connect)
        except BaseException:
            self._relay.dismiss(member.id)
            await self._leases.release(member)
            raise

    async def _admit(self, connect: Connect, connection_id: str) -> tuple[Admission, bool]:
        """The admission, and whether presence does not know of it."""
        name = connect.role.counted
        try:
            self._gates.take(connect, self._now())
        except ClientLimitExceededException:
            self.stats.count_admission(name, "rate")
            raise
        is_local = False
        try:
            admission = await self._ask_presence(connect, connection_id)
        except PresenceUnavailableError:
            if not self._leases.settings.degraded_local:
                self._gates.give_back(connect)
                self.stats.count_admission(name, "unavailable")
                raise _presence_is_away() from None
            is_local = True
            admission = self._leases.admit_locally(connect, connection_id, self._node, time.time_ns() // 1000)
        if admission is None:
            self._gates.give_back(connect)
            self.stats.count_admission(name, "full")
            raise channel_is_full(self.limits)
        return admission, is_local

    async def _ask_presence(self, connect: Connect, connection_id: str) -> Admission | None:
        """The admission by presence. Raises: PresenceUnavailableError, at once when it was away a moment ago."""
        if self._leases.is_away:
            raise PresenceUnavailableError("presence did not answer a moment ago")
        role, channel, limit = connect.role, str(connect.channel.arn), self.limits.viewers_per_channel
        client_id = "" if role is Role.MASTER else connect.client_id
        try:
            return await self._presence.admit(channel, role, client_id, connection_id, limit)
        except PresenceUnavailableError:
            self._leases.note_away()
            raise

    async def _collect(self, member: Member) -> None:
        """Deliver what is held for a newcomer."""
        try:
            await self._relay.collect_for(member)
        except MailboxUnavailableError:
            if not self._leases.settings.degraded_local:
                raise _presence_is_away() from None
            self._leases.look_later(member)

    def receive(self, member: Member, frame: str) -> None:
        """Work on one text frame of this connection: relay it, answer it, or nothing. Never blocks."""
        if not member.is_in:
            if member.is_going:
                self._receive_late(member, frame)
            return  # closed by us; what still comes in is void
        now = self._now()
        effect = member.rules.receive(frame, now)
        if effect is None:
            return
        if type(effect) is Forward:
            self._relay.forward(member, effect, now)
        elif type(effect) is Refuse:
            self.stats.count_message(member.role, effect.action, effect.result)
            if effect.status is not None:
                self._relay.give(member, messages.encode_status(effect.status))

    def _receive_late(self, member: Member, frame: str) -> None:
        """What the peer said before it heard that its time here is over: brought on, though no answer can be given."""
        effect = member.rules.receive(frame, self._now())
        if isinstance(effect, Forward):
            self._relay.forward_late(member, effect)
        elif isinstance(effect, Refuse):
            self.stats.count_message(member.role, effect.action, effect.result)

    def close(self, member: Member, code: int, reason: str) -> None:
        """Close a connection; nothing is delivered to it any more. Its owner gives the slot back."""
        self._relay.close(member, code, reason)

    def forget(self, member: Member) -> None:
        """Deliver nothing to a connection whose socket takes nothing more; `disconnect` gives its slot back."""
        self._relay.forget(member)

    async def disconnect(self, member: Member) -> None:
        """Forget a connection whose socket is gone and give its slot back. Twice is harmless.

        While presence is away the slot is given back later.
        """
        self._relay.forget(member)
        await self._leases.release(member)

    def close_channel(self, arn: ChannelArn, code: int = GOING_AWAY, reason: str = "the channel was deleted") -> None:
        """Close the channel's connections on every node, admit none any more and drop what is held for it."""
        self.end_channel(arn, code, reason)
        self._exchange.close_channel(str(arn), code, reason)

    def end_channel(self, arn: ChannelArn, code: int = GOING_AWAY, reason: str = "the channel was deleted") -> None:
        """Close the channel's connections on this node and admit none any more: it was deleted elsewhere."""
        channel = str(arn)
        self._deleted.add(frozenset((channel,)), self._now())
        self._relay.close_here(channel, code, reason)

    def cut(self, arn: ChannelArn, code: int, reason: str) -> None:
        """Close the channel's connections on this node; what is held for it stays."""
        self._relay.close_here(str(arn), code, reason)

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

    def announce(self, arn: ChannelArn | None, event: Event, *, in_any_case: bool = False) -> int:
        """Tell this node's connections to a channel, or all of them; how many were told.

        Nobody is told anything unless control messages are switched on (`Limits.go_away_s`), or `in_any_case`: either
        event freezes a stock C SDK 1.14 for good, while the 1001 that follows in any case makes it reconnect.
        """
        if self.limits.go_away_s is None and not in_any_case:
            return 0
        members = tuple(self._members) if arn is None else self._members.of(str(arn))
        frame = messages.encode_event(event)
        return sum(self._relay.give(member, frame) for member in members)

    async def drain(self, over_s: float) -> None:
        """Admit nobody any more and close all connections with 1001, spread evenly with jitter over `over_s`.

        Slots are given back first, so that a client that reconnects elsewhere finds its own free. Where control
        messages are switched on, GO_AWAY comes first. What was accepted is settled before the end, and every lease is
        given back; those that presence does not take within 2 s end by themselves.
        """
        self._is_draining = True
        self.announce(None, Event.GO_AWAY)
        drain = Drain(self._leases, self._relay.underway, self._send_away)
        await drain.run(tuple(self._members), over_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                await self._leases.release_all()
                while self.is_busy or self._relay.is_expecting or self.leases:
                    await asyncio.sleep(_SETTLE_TURN_S)
                    await self._leases.release_all()

    async def settle(self) -> None:
        """Wait, for 2 s at most, until what was read after the drain is settled, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while self.is_busy:  # noqa: ASYNC110  # looked at for as short as this, it need not tell
                    await asyncio.sleep(_SETTLE_TURN_S)

    def _send_away(self, member: Member) -> None:
        self.close(member, GOING_AWAY, "this node is going away")

    def expire(self) -> None:
        """Do what is due: close idle and old connections, report messages whose time is over."""
        now = self._now()
        for due in self._timetable.due(now):
            if isinstance(due, Mail):
                self._exchange.expire_mail(due)
            else:
                self._expire(due, now)
        self._exchange.expire()
        self._gates.tidy(now)
        self._revoked.tidy(now)
        self._deleted.tidy(now)

    # Coming and going

    def _refuse_now(self, connect: Connect) -> None:
        self._refuse_while_draining()
        self._revoked.refuse(connect.credential_ids)
        if len(self._deleted) and str(connect.channel.arn) in self._deleted:
            raise ResourceNotFoundException(f"there is no channel {connect.channel.arn}")

    def _refuse_while_draining(self) -> None:
        if self._is_draining:
            raise ServiceUnavailableException("this node is going away: connect again, another one answers")

    def _expire(self, member_id: str, now: float) -> None:
        member = self._members.get(member_id)
        if member is None:
            return
        due = member.rules.expire(now)
        if type(due) is Close:
            member.is_going = due.hears_out
            self.close(member, due.code, due.reason)
            return
        if type(due) is Announce:
            self._relay.give(member, messages.encode_event(due.event))
        self._timetable.arm(member)


def _presence_is_away() -> ServiceUnavailableException:
    return ServiceUnavailableException("nobody knows now who is connected: connect again in a few seconds")
