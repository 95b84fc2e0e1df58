"""Hubs of several nodes over a real Redis: every numbered message arrives once and in order, or is answered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from channels.errors import ServiceUnavailableException
from channels.names import Role
from channels.redis.bus import RedisBus
from channels.redis.link import Link
from channels.redis.mailbox import RedisMailbox
from channels.redis.presence import PresenceSettings, RedisPresence
from channels.redis.settings import RedisSettings
from channels.signaling.hub import Hub
from channels.signaling.leases import LeaseSettings
from channels.signaling.limits import Limits
from channels.signaling.members import Connect
from tests.channels.redis.rig import CALM
from tests.channels.signaling.ledger import Ledger
from tests.channels.signaling.rig import Recorder, channel, frame_of
from tests.redis_link import PATIENT_S, patient_settings, quick_settings, until
from tests.redis_server import RedisServer


class RedisNode:
    """A node with everything in Redis, of this process."""

    def __init__(
        self,
        name: str,
        settings: RedisSettings,
        *,
        presence: PresenceSettings | None = None,
        now: Callable[[], float] = time.monotonic,
        degraded_local: bool = False,
    ) -> None:
        limits = Limits.relaxed()
        self.link = Link(settings)
        self.presence = RedisPresence(self.link, name, presence)
        self.mailbox = RedisMailbox(self.link, limits)
        self.hub = Hub(RedisBus(self.link), self.presence, limits, name, now, self.mailbox)
        self.hub.configure_leases(LeaseSettings(renew_s=0.5, degraded_local=degraded_local))
        self.link.on_epoch.append(self.hub.reassert)
        self.presence.on_lapse.append(self.hub.reassert)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, group: asyncio.TaskGroup) -> None:
        self._tasks = [
            group.create_task(run()) for run in (self.link.run, self.presence.run, self.mailbox.run, self.hub.run)
        ]
        async with asyncio.timeout(15):
            await self.link.up.wait()
        await asyncio.sleep(0.02)  # the hub subscribes to its inbox

    async def stop(self) -> None:
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.wait(self._tasks)
        await self.link.aclose()


@contextlib.asynccontextmanager
async def nodes(settings: RedisSettings, *names: str, **more: Any) -> AsyncIterator[list[RedisNode]]:
    made = [RedisNode(name, settings, **more) for name in names]
    async with asyncio.TaskGroup() as group:
        for node in made:
            await node.start(group)
        try:
            yield made
        finally:
            for node in made:
                await node.stop()


def slowly() -> float:
    """Seconds of ten: a stall of the machine uses up no answer's 1.2 s."""
    return time.monotonic() / 10


async def talk(ledger: Ledger, rounds: int, pause_s: float) -> None:
    for _ in range(rounds):
        ledger.talk()
        await asyncio.sleep(pause_s)


async def all_accounted(ledger: Ledger) -> float:
    """Seconds until every message is delivered or answered."""
    began = time.monotonic()
    await until(lambda: not ledger.unaccounted(), PATIENT_S)
    return time.monotonic() - began


async def test_what_nodes_say_to_each_other_arrives_once_and_in_order(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    ledger = Ledger("v1", "v2")
    settings = patient_settings(redis_server.url, prefix=redis_prefix)
    async with nodes(settings, "a", "b", presence=CALM, now=slowly) as (a, b):
        for viewer in ledger.viewers.values():
            await viewer.connect(b.hub)
            viewer.say("")  # nobody is there yet: it is held
        await until(lambda: not b.hub.is_busy)
        await ledger.master.connect(a.hub)
        await talk(ledger, 20, 0.002)
        await ledger.master.connect(b.hub)
        await talk(ledger, 20, 0.002)
        await ledger.master.connect(a.hub)
        await talk(ledger, 20, 0.002)
        await all_accounted(ledger)

        # By the eviction, or by the renewal when the machine stalls.
        assert all(recorder.closed is not None for recorder in ledger.master.recorders[:2])
        for hub, member in ledger.master.past[:2]:
            await hub.disconnect(member)
        for node in (a, b):
            await node.hub.drain(0.0)
        assert await a.presence.count(str(channel().arn)) == 0
        assert await a.presence.locate(str(channel().arn), Role.MASTER, "") is None
        assert (len(a.hub._leases), len(b.hub._leases)) == (0, 0)

    ledger.check()
    assert ledger.delivered == ledger.number, "nothing failed, so nothing was answered"


@pytest.mark.slow  # the time of Redis cannot be moved
async def test_who_sent_what_redis_lost_is_told_when_its_time_is_over(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with nodes(patient_settings(redis_server.url, prefix=redis_prefix), "a") as (a,):
        sender = Recorder()
        member = await a.hub.connect(Connect(channel(ttl_s=1), Role.VIEWER, "v1"), sender)
        a.hub.receive(member, frame_of("AAAA", "SDP_OFFER", correlationId="7"))
        await until(lambda: not a.hub.is_busy)
        assert a.mailbox.stats.held == 1
        redis_server.command("DEL", f"{redis_prefix}:{{{channel().arn}}}:mail")
        await until(lambda: sender.frames, PATIENT_S)

    (answer,) = sender.statuses
    assert answer["correlationId"] == "7"
    assert "nobody knows now whether" in answer["description"]


@pytest.mark.faults
async def test_a_redis_that_is_away_for_a_moment_costs_answers_in_time(tmp_path: Path) -> None:
    ledger = Ledger("v1")
    with RedisServer(tmp_path / "redis") as server:
        async with nodes(quick_settings(server.url), "a", "b") as (a, b):
            await ledger.master.connect(a.hub)
            await ledger.viewers["v1"].connect(b.hub)
            await talk(ledger, 5, 0.01)
            for fault, heal in ((server.stop, server.cont), (server.kill, server.start)):
                fault()
                await talk(ledger, 12, 0.05)
                heal()
                await talk(ledger, 10, 0.02)
                await all_accounted(ledger)
            await until(lambda: a.link.is_up and b.link.is_up)
            ledger.talk()
            await all_accounted(ledger)

    ledger.check()


@pytest.mark.faults
async def test_while_redis_is_away_connects_are_refused_in_time_or_admitted_by_the_node_alone(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with (
            nodes(quick_settings(server.url), "a", "b") as (a, b),
            nodes(quick_settings(server.url), "c", degraded_local=True) as (c,),
        ):
            first, second = Ledger("refused"), Ledger("v1")
            await first.master.connect(a.hub)
            server.stop()
            with pytest.raises(ServiceUnavailableException):
                await first.viewers["refused"].connect(b.hub)
            await second.master.connect(c.hub)
            await second.viewers["v1"].connect(c.hub)
            second.talk()
            assert second.delivered == 2
            server.cont()
            at_first, at_second = first.master.recorders[0], second.master.recorders[0]
            await until(lambda: at_first.closed is not None)
            assert at_first.closed == (1001, "another connection has taken the slot: connect again")
            assert at_second.closed is None
            await until(lambda: c.hub.stats.leases_renewed >= 2)  # of the master and of the viewer
            # Node a may have read last that c lapsed: until it reads again, what c holds counts as free there.
            async with asyncio.timeout(60):
                while await a.presence.count(str(channel().arn)) != 1:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.01)
