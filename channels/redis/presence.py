"""Presence of many nodes in Redis: leases with fences, kept by `presence_scripts`; `nodes` knows which nodes live.

A claim of this node, as Redis sees it:

    none --admit--> held --renew every 5 s--> held --leave--> none
                     |  \\--a newer one is admitted--> lost: the admission says whom it replaced, and renew says so
                     |
                     +--15 s without renewal, or its node is dead--> free: counts nowhere, the room goes to who comes
                     '--Redis lost its data--> forgotten

    free or forgotten --renew, or the next admission of this node to the channel--> held, with the fence it had,
    unless its slot, or the room of a viewer, went to higher fences meanwhile: lost.

So a claim that may be forgotten is never overlooked by its own node: after each reconnect and each lapse of the node's
lease all claims are in doubt until they were renewed, and admissions to their channels put them back first.

What was not answered may have been done, and must not be done later: commands carry the time (of Redis) until which
they are wanted, and admissions and leaves without an answer are taken back once Redis answers again.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import redis

from channels.names import Role
from channels.presence import CONNECTION_LEASE_S, Admission, Holder, Lease, PresenceUnavailableError
from channels.redis import presence_scripts as scripts
from channels.redis.claims import Claims, parse_holder, slot_of
from channels.redis.clock import RedisClock
from channels.redis.commands import Call, RedisUnavailableError, Script, Word
from channels.redis.failures import Refusals, answered
from channels.redis.link import Link
from channels.redis.nodes import REMEMBERED_S, Nodes, NodeSettings

_KEEP_MS: Final = 3_600_000  # how long an empty channel remembers its highest fence
_RENEWED_AT_ONCE: Final = 50  # leases per script: 0.2 ms of Redis, so that an admission beside it waits no longer
_NEXT_S: Final = 0.02  # after which the next script need not wait for the answer to the one before: Redis is far away
_RETRY_S: Final = 0.2
_encoder: Final = msgspec.msgpack.Encoder()


class PresenceSettings(msgspec.Struct, frozen=True):
    """How long leases last; those of connections are renewed by who holds them.

    `admit_s` is how long an admission may take, `stop_s` how long a node that stops tries to tell.
    """

    lease_s: float = CONNECTION_LEASE_S
    node: NodeSettings = NodeSettings()
    admit_s: float = 1.4  # with 0.5 s of a catalog that is as silent, a connect is refused within 2 s
    stop_s: float = 1.0

    @classmethod
    def of(cls, lease_s: float, node_lease_s: float) -> "PresenceSettings":
        """Leases of connections and of nodes that last so long; a dead node is remembered while its leases may last."""
        standard = NodeSettings()
        renew_s = node_lease_s * standard.renew_s / standard.lease_s
        return cls(lease_s, NodeSettings(node_lease_s, renew_s, remember_s=lease_s + REMEMBERED_S))


class PresenceStats(msgspec.Struct):
    """Plain counters: leases of connections renewed, put back because they were forgotten, and lost to newer ones.

    `lapsed` is how often this node counted as dead, `unavailable` how many calls went unanswered.
    """

    renewed: int = 0
    put_back: int = 0
    lost: int = 0
    lapsed: int = 0
    unavailable: int = 0


class RedisPresence:
    """One node's view of the presence of all; `node` is the id of this process, never used by another one."""

    def __init__(
        self,
        link: Link,
        node: str,
        settings: PresenceSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stats = PresenceStats()
        self._link = link
        self._node = node
        self._settings = settings or PresenceSettings()
        self._clock = RedisClock(now)
        self._claims = Claims()
        self._admit = link.script(scripts.ADMIT)
        self._renew = link.script(scripts.RENEW)
        self._leave = link.script(scripts.LEAVE)
        self._locate = link.script(scripts.LOCATE)
        self._count = link.script(scripts.COUNT)
        self.nodes = Nodes(link, node, self._settings.node, self._clock)
        self.nodes.on_lapse.append(self._note_lapse)
        self._woken = asyncio.Event()
        self._refusals = Refusals("what presence needs")
        link.on_epoch.append(self._note_epoch)

    @property
    def on_lapse(self) -> list[Callable[[], None]]:
        """Called when this node counted as dead, or was forgotten, and lives again: its leases have to be renewed."""
        return self.nodes.on_lapse

    def __len__(self) -> int:
        """How many claims this node holds or has to take back."""
        return len(self._claims)

    async def run(self) -> None:
        """Keep this node alive in the eyes of the others until cancelled; then it counts as dead at once."""
        try:
            while True:
                delay_s = await self._tick()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.stop_s), asyncio.TaskGroup() as group:
                    group.create_task(_tried(self.nodes.end()))
                    group.create_task(_tried(self._take_all_back()))

    async def admit(
        self, channel: str, role: Role, client_id: str, connection_id: str, viewer_limit: int
    ) -> Admission | None:
        """Take the slot, newest wins; None when `viewer_limit` other viewers are in."""
        slot = slot_of(role, client_id)
        try:
            with answered(self._failure):
                async with asyncio.timeout(self._settings.admit_s):
                    reply = await self._take(channel, (slot, connection_id), viewer_limit)
        except BaseException:  # also when nobody waits for the answer any more
            self._undo(channel, slot, connection_id)
            raise
        if reply[0] == b"full":
            return None
        _, _, fence, replaced = reply
        holder = Holder(role, client_id, self._node, connection_id, fence)
        self._claims.add(channel, holder)
        return Admission(holder, parse_holder(slot, replaced) if replaced else None)

    async def leave(self, leases: Sequence[Lease]) -> None:
        """Give the slots back, of whoever still has its own, in one round trip."""
        calls: list[Call] = []
        for channel, holder in ((lease.channel, lease.holder) for lease in leases):
            self._claims.remove(channel, holder)
            slot = slot_of(holder.role, holder.client_id)
            calls.append(([self._key(channel)], [slot, holder.connection_id, holder.fence]))
        try:
            with answered(self._failure):
                await self._leave.many(calls)
        except BaseException:
            for channel, holder in ((lease.channel, lease.holder) for lease in leases):
                self._undo(channel, slot_of(holder.role, holder.client_id), holder.connection_id, holder.fence)
            raise

    async def locate(self, channel: str, role: Role, client_id: str) -> Holder | None:
        """The live connection in this slot. For the master `client_id` is ignored."""
        slot = slot_of(role, client_id)
        with answered(self._failure):
            value = await self._locate([self._key(channel)], [slot, self.nodes.dead])
        return parse_holder(slot, value) if value else None

    async def count(self, channel: str) -> int:
        """How many viewers are in."""
        with answered(self._failure):
            viewers: int = await self._count([self._key(channel)], [self.nodes.dead])
        return viewers

    async def renew(self, leases: Sequence[Lease], viewer_limit: int) -> tuple[Lease, ...]:
        """Prolong the leases, put back what was forgotten; the answer is those that are lost to higher fences."""
        size = 1 if self._link.is_cluster else _RENEWED_AT_ONCE  # a script of a cluster takes keys of one slot
        parts: list[asyncio.Task[list[Lease]]] = []
        try:
            with self._claims.renewing():
                async with asyncio.TaskGroup() as group:
                    for start in range(0, len(leases), size):
                        if part := self._claims.still(leases[start : start + size]):
                            parts.append(group.create_task(self._prolong(part, viewer_limit)))
                            await asyncio.wait(parts[-1:], timeout=_NEXT_S)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return tuple(lease for part in parts for lease in part.result())

    async def _prolong(self, leases: list[Lease], viewer_limit: int) -> list[Lease]:
        doubts = self._claims.doubts
        with answered(self._failure):
            keys = [self._key(lease.channel) for lease in leases]
            packed = _packed(lease.holder for lease in leases)
            _, _, put_back, *numbers = await self._timely(self._renew, keys, viewer_limit, [packed])
        lost = [leases[number - 1] for number in numbers]
        self.stats.renewed += len(leases) - len(lost)
        self.stats.put_back += put_back
        self.stats.lost += len(lost)
        for lease in lost:
            self._claims.remove(lease.channel, lease.holder)
        for lease in leases:
            if lease not in lost:
                self._settle(lease.channel, (lease.holder,), doubts)
        return lost

    async def _take(self, channel: str, wanted: tuple[str, str], viewer_limit: int) -> list[Any]:
        if self.nodes.is_held:
            return await self._claim(channel, wanted, viewer_limit)
        async with asyncio.timeout(self._link.limit_s):
            await self.nodes.renew()  # it counts as dead: what it took now would be free for the others
            return await self._claim(channel, wanted, viewer_limit)

    async def _claim(self, channel: str, wanted: tuple[str, str], viewer_limit: int) -> list[Any]:
        doubts, doubted = self._claims.doubts, self._claims.doubted(channel)
        with self._claims.renewing():
            words: list[Word] = [_packed(doubted), *wanted]
            reply = await self._timely(self._admit, [self._key(channel)], viewer_limit, words)
            self._settle(channel, doubted, doubts)
        return reply

    async def _timely(
        self, script: Script, keys: Sequence[Word], viewer_limit: int, words: Sequence[Word]
    ) -> list[Any]:
        """Run a script that claims something, unless it is too late when its turn comes: nobody waits for it then."""
        lease_ms, node = int(self._settings.lease_s * 1000), self._node

        def ask(until_ms: int) -> Awaitable[list[Any]]:
            return script(keys, [until_ms, lease_ms, _KEEP_MS, viewer_limit, self.nodes.dead, node, *words])

        reply = await self._clock.in_time(self._link.limit_s, ask)
        if reply is None:
            raise PresenceUnavailableError("Redis would have done what was asked too late")
        return reply

    def _settle(self, channel: str, holders: tuple[Holder, ...], doubts: int) -> None:
        """Redis has these claims now: they are in doubt no more, and those that left meanwhile are taken back."""
        self._claims.trust(channel, holders, doubts)
        for holder in self._claims.gone(channel, holders):
            self._undo(channel, slot_of(holder.role, holder.client_id), holder.connection_id, holder.fence)

    async def _tick(self) -> float:
        """Renew the node lease, take back what was not answered; the answer is after how many seconds to go on."""
        try:
            delay_s = await self.nodes.renew()
            await self._take_back()
        except (RedisUnavailableError, redis.RedisError) as error:
            self._refusals.note(error)
            return _RETRY_S
        return delay_s

    async def _take_back(self) -> int:
        """Take back a batch of what was not answered; the answer is how many there were."""
        undone = self._claims.undone(self._clock.now())
        await self._leave.many([([self._key(channel)], [slot, id, fence]) for (channel, slot, id), fence in undone])
        for key, _ in undone:
            self._claims.done(key)
        return len(undone)

    async def _take_all_back(self) -> None:
        while await self._take_back():
            pass

    def _undo(self, channel: str, slot: str, connection_id: str, fence: int = 0) -> None:
        until = self._clock.now() + self._settings.lease_s + self._link.limit_s
        self._claims.undo(channel, slot, connection_id, fence, until)

    def _note_lapse(self) -> None:
        self.stats.lapsed += 1
        self._claims.doubt()

    def _note_epoch(self) -> None:
        self._claims.doubt()
        self._woken.set()

    def _failure(self, error: Exception) -> PresenceUnavailableError:
        self.stats.unavailable += 1
        self._refusals.note(error)
        return PresenceUnavailableError("Redis does not say who is connected")

    def _key(self, channel: str) -> str:
        return f"{self._link.prefix}:{{{channel}}}:slots"


async def _tried(work: Awaitable[None]) -> None:
    """What Redis does not do now, time does."""
    with contextlib.suppress(RedisUnavailableError, redis.RedisError):
        await work


def _packed(holders: Iterable[Holder]) -> bytes:
    """Slot, fence and connection id of each, as the scripts take them: in one word, since each costs as much."""
    words: list[str | int] = []
    for holder in holders:
        words += (slot_of(holder.role, holder.client_id), holder.fence, holder.connection_id)
    return _encoder.encode(words)
