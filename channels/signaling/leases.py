"""The leases of one node's connections: renewed, given back, closed when lost; admission while presence is away.

Presence is the index, this node's sockets are the truth: what presence forgot is put back. Nothing here waits longer
for a presence that does not answer than its own limit, and only one caller in `_AWAY_S` finds out again.
"""

import asyncio
import contextlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from channels.names import Role
from channels.presence import CONNECTION_LEASE_S, Admission, Holder, Lease, Presence, PresenceUnavailableError
from channels.signaling.mailbox import Mailbox, MailboxUnavailableError, Seen
from channels.signaling.members import Connect, Member, Members
from channels.signaling.stats import HubStats

_BATCH: Final = 250  # leases of one call
_TURNS: Final = 10  # looks at what is due per renewal interval
_AWAY_S: Final = 1.0
_SOON: Final = 0.3  # of the interval: after all leases were put back they are renewed once more so soon
_LEAVING_LIMIT: Final = 20_000
# How often the mailbox is looked at for somebody whom presence may have forgotten: when the lease is put back, and once
# more, since other nodes read a little later that this one is not dead.
_LOOKS: Final = 2
RENEWALS: Final = 3  # of a lease while it lasts, so that two may fail


class LeaseSettings(msgspec.Struct, frozen=True):
    """How often each lease is renewed, and whether newcomers are let in while presence is away."""

    renew_s: float = CONNECTION_LEASE_S / RENEWALS
    degraded_local: bool = False


class Leases:
    """The leases of one node."""

    def __init__(
        self,
        presence: Presence,
        mailbox: Mailbox,
        members: Members,
        viewer_limit: int,
        now: Callable[[], float],
        stats: HubStats,
    ) -> None:
        self.settings = LeaseSettings()
        self.lost: Callable[[Member], None] = lambda member: None
        self.back: Callable[[Member], None] = lambda member: None
        self._presence = presence
        self._mailbox = mailbox
        self._members = members
        self._viewer_limit = viewer_limit
        self._now = now
        self._stats = stats
        self._held: dict[str, Member] = {}
        self._due: deque[tuple[float, str]] = deque()  # earliest first; by its id, since nobody takes out who left
        self._unseen: dict[str, int] = {}  # for whom mail may be held though they are in: how often to look for it
        self._leaving: dict[str, Member] = {}
        self._away_until = self._doubted_until = float("-inf")
        self._fence = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many leases this node has, or has still to give back."""
        return len(self._held) + len(self._leaving)

    @property
    def is_away(self) -> bool:
        """Whether presence did not answer a moment ago: it is not asked again yet."""
        return self._now() < self._away_until

    def add(self, member: Member, *, is_local: bool = False) -> None:
        """Renew this connection's lease from now on; `is_local`: presence does not know of it yet."""
        self._held[member.id] = member
        if is_local:
            self._due.appendleft((self._now(), member.id))
        else:
            self._due.append((self._next_due(), member.id))
        if len(self._due) == 1:
            self._wake.set()

    def look_later(self, member: Member) -> None:
        """The mailbox did not answer for this connection: it is looked for mail when its lease is renewed next."""
        if member.id in self._held:
            self._unseen[member.id] = _LOOKS

    async def release(self, *members: Member) -> None:
        """Give leases back in one go, now or, while presence is away, as soon as it answers. Twice is harmless."""
        leaving = [member for member in members if self._held.pop(member.id, None) is not None]
        for member in leaving:
            self._unseen.pop(member.id, None)
        is_done = not leaving
        try:
            is_done = is_done or (not self.is_away and await self._leave(leaving))
        finally:  # also when nobody waits for it any more
            if not is_done:
                self._leaving.update((member.id, member) for member in leaving)
                while len(self._leaving) > _LEAVING_LIMIT:
                    del self._leaving[next(iter(self._leaving))]  # that one ends by itself
                self._wake.set()

    async def release_all(self) -> None:
        """Give back all that this node has, in batches."""
        while self._held:
            await self.release(*itertools.islice(self._held.values(), _BATCH))
        await self.give_back()

    def reassert(self) -> None:
        """Renew every lease now: presence may have forgotten them, or this node was away.

        The newest come first, so that who has no room any more is told so at once, and not put back to be pushed out.
        Then once more, soon: what another node puts back a moment later may push out what was let in meanwhile.
        What was held for somebody whom presence had forgotten is looked for.
        """
        now = self._now()
        self._doubted_until = now + 0.5 * _SOON * self.settings.renew_s
        self._due = deque((now, member_id) for member_id in reversed(self._held))
        self._unseen = dict.fromkeys(self._held, _LOOKS)
        self._away_until = float("-inf")
        self._wake.set()

    def note_away(self) -> None:
        """Presence did not answer."""
        self._away_until = self._now() + _AWAY_S
        self._stats.presence_unavailable += 1

    def admit_locally(self, connect: Connect, connection_id: str, node: str, wall_us: int) -> Admission | None:
        """Admit by what this node knows alone; the fence is time, as in presence, so that the newest wins later."""
        role = connect.role
        client_id = "" if role is Role.MASTER else connect.client_id
        others = self._members.of(str(connect.channel.arn))
        replaced = next((m.holder for m in others if (m.holder.role, m.holder.client_id) == (role, client_id)), None)
        viewers = sum(member.holder.role is Role.VIEWER for member in others)
        if role is Role.VIEWER and replaced is None and viewers >= self._viewer_limit:
            return None
        highest = max((member.holder.fence for member in others), default=0)
        self._fence = max(self._fence + 1, highest + 1, wall_us)
        self._stats.admitted_locally += 1
        return Admission(Holder(role, client_id, node, connection_id, self._fence), replaced)

    async def run(self) -> None:
        """Renew what is due and give back what could not be given back; until cancelled."""
        while True:
            self._wake.clear()
            await self.renew_due()
            await self.give_back()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()

    async def renew_due(self) -> None:
        """Renew the leases whose time has come, in batches; what does not work now is tried again soon."""
        now = self._now()
        unseen: list[Member] = []
        while not self.is_away and (batch := self._batch(now)):
            table = self._due  # another one, with these in it, when all leases were reasserted meanwhile
            leases = [Lease(member.channel, member.holder) for member in batch]
            try:
                lost = await self._presence.renew(leases, self._viewer_limit)
            except PresenceUnavailableError:
                self.note_away()
                table.extendleft((now, member.id) for member in reversed(batch))
                break
            self._stats.leases_renewed += len(batch) - len(lost)
            unseen += self._settle(batch, {lease.holder.connection_id for lease in lost}, table)
        for first in range(0, len(unseen), _BATCH):  # no lease waits for this
            await self._look(unseen[first : first + _BATCH])

    def _batch(self, now: float) -> list[Member]:
        batch: list[Member] = []
        while self._due and self._due[0][0] <= now and len(batch) < _BATCH:
            member = self._held.get(self._due.popleft()[1])
            if member is not None:
                batch.append(member)
        return batch

    def _settle(self, batch: list[Member], lost: set[str], table: deque[tuple[float, str]]) -> list[Member]:
        """Go on with a batch that was renewed; the answer is for whom to look into the mailbox."""
        unseen: list[Member] = []
        due = self._next_due()
        for member in batch:
            if member.id not in self._held:
                continue  # it was given back meanwhile, and presence sees to it that it stays so
            if member.id in lost:
                self._stats.lease_lost += 1
                self._held.pop(member.id)
                self._unseen.pop(member.id, None)
                self.lost(member)
            else:
                early_s = self.settings.renew_s * random.uniform(0.0, 0.1)  # noqa: S311  # those renewed together part
                table.append((due - early_s, member.id))
                if member.id in self._unseen:
                    unseen.append(member)
                    if table is self._due:  # else it was reasserted meanwhile, and is looked for as often after that
                        self._count_look(member)
        return unseen

    async def _look(self, members: list[Member]) -> None:
        """Tell `back` for whom of these something is held; nobody else has to wait for the mailbox."""
        try:
            expected = await self._mailbox.peek([(member.channel, member.address) for member in members])
        except MailboxUnavailableError:
            self._stats.mailbox_unavailable += 1
            for member in members:
                self.look_later(member)
            return
        for member in members:
            if (member.channel, member.address) in expected and member.id in self._held:
                self.back(member)

    def _count_look(self, member: Member) -> None:
        self._unseen[member.id] -= 1
        if not self._unseen[member.id]:
            del self._unseen[member.id]

    def _next_due(self) -> float:
        now, renew_s = self._now(), self.settings.renew_s
        return now + (_SOON * renew_s if now < self._doubted_until else renew_s)

    async def give_back(self) -> None:
        """Give back the leases that could not be given back before."""
        left = list(self._leaving.values())  # and not those that come meanwhile: renewals wait for this
        for first in range(0, len(left), _BATCH):
            if self.is_away or not await self._leave(left[first : first + _BATCH]):
                return

    async def _leave(self, members: Sequence[Member]) -> bool:
        """Whether presence knows that these connections have gone; it is asked again for those it does not."""
        viewers = [member for member in members if member.address.role is Role.VIEWER]
        if viewers:
            try:
                await self._mailbox.remember([Seen(m.channel, m.address.client_id, m.ttl_s) for m in viewers])
            except MailboxUnavailableError:
                self._stats.mailbox_unavailable += 1  # mail for these viewers is refused rather than held
        try:
            await self._presence.leave([Lease(member.channel, member.holder) for member in members])
        except PresenceUnavailableError:
            self.note_away()
            return False
        for member in members:
            self._leaving.pop(member.id, None)
        return True

    def _pause_s(self) -> float | None:
        """Seconds until something is due, at least a turn; None when nothing ever is."""
        turn_s = self.settings.renew_s / _TURNS
        if self._leaving:
            return turn_s
        return max(turn_s, self._due[0][0] - self._now()) if self._due else None
