"""Parts for tests of the leases of one node: a presence and a mailbox that a test takes away."""

import asyncio
from collections.abc import Callable, Sequence

from channels.embedded.presence import EmbeddedPresence
from channels.names import Role
from channels.presence import Admission, Lease, PresenceUnavailableError
from channels.signaling.leases import Leases
from channels.signaling.limits import Limits
from channels.signaling.mailbox import InProcessMailbox, Mail, MailboxUnavailableError, Seen
from channels.signaling.members import Connect, Member, Members
from channels.signaling.messages import Action
from channels.signaling.protocol import Address
from channels.signaling.stats import HubStats
from tests.channels.signaling.rig import Clock, Recorder, channel

ARN = str(channel().arn)


class Presence(EmbeddedPresence):
    """Answers only while it is not `away`; keeps what was asked to be renewed."""

    is_away = False
    is_slow: asyncio.Event | None = None
    fails_late = False
    answers = 10_000  # to so many renewals

    def __init__(self) -> None:
        super().__init__("a")
        self.renewed: list[int] = []
        self.left: list[int] = []
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.is_away:
            raise PresenceUnavailableError

    async def leave(self, leases: Sequence[Lease]) -> None:
        self.check()
        if self.is_slow is not None:
            await self.is_slow.wait()
        self.left.append(len(leases))
        await super().leave(leases)

    async def renew(self, leases: Sequence[Lease], viewer_limit: int) -> tuple[Lease, ...]:
        self.check()
        lost = await super().renew(leases, viewer_limit)
        if self.is_slow is not None:
            await self.is_slow.wait()
        self.answers -= 1
        if self.fails_late or self.answers < 0:
            raise PresenceUnavailableError
        self.renewed.append(len(leases))
        return lost


class Mailbox(InProcessMailbox):
    is_away = False

    def __init__(self, limits: Limits, now: Clock) -> None:
        super().__init__(limits, now)
        self.seen: list[int] = []
        self.peeked: list[int] = []
        self.on_peek: Callable[[], None] = lambda: None

    async def remember(self, seen: Sequence[Seen]) -> None:
        if self.is_away:
            raise MailboxUnavailableError
        self.seen.append(len(seen))
        await super().remember(seen)

    async def peek(self, recipients: Sequence[tuple[str, Address]]) -> set[tuple[str, Address]]:
        self.peeked.append(len(recipients))
        self.on_peek()
        if self.is_away:
            raise MailboxUnavailableError
        return await super().peek(recipients)


class Rig:
    def __init__(self) -> None:
        self.clock, self.presence, self.members, self.stats = Clock(), Presence(), Members(), HubStats()
        self.mailbox = Mailbox(Limits.aws(), self.clock)
        self.leases = Leases(self.presence, self.mailbox, self.members, 3, self.clock, self.stats)
        self.lost: list[str] = []
        self.back: list[str] = []
        self.leases.lost = lambda member: self.lost.append(member.id)
        self.leases.back = lambda member: self.back.append(member.id)
        self.number = 0

    async def come(self, client_id: str = "", *, is_local: bool = False) -> Member:
        self.number += 1
        connection_id = f"a-{self.number}"
        role = Role.VIEWER if client_id else Role.MASTER
        connect = Connect(channel(), role, client_id)
        admission: Admission | None
        if is_local:
            admission = self.leases.admit_locally(connect, connection_id, "a", 1_000_000)
        else:
            admission = await self.presence.admit(ARN, role, client_id, connection_id, 3)
        assert admission is not None
        member = Member(connect, Recorder(), admission.holder, connect.rules(Limits.aws(), self.clock()))
        self.members.add(member)
        self.leases.add(member, is_local=is_local)
        return member

    async def hold_for(self, recipient: Address) -> None:
        mail = Mail("m", ARN, recipient, Address(Role.VIEWER, "v9"), Action.ICE_CANDIDATE, b"", "", 60.0, "b", "b-9")
        assert await self.mailbox.hold(mail, is_expected=True) is None

    async def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.leases.renew_due()
        await self.leases.give_back()
