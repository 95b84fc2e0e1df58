"""Presence in bad times, with real servers, processes and signals: races, killed nodes, partitions, frozen servers."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from channels.names import Role
from channels.presence import Admission, Holder, Lease, PresenceUnavailableError
from channels.redis.nodes import NodeSettings
from channels.redis.presence import PresenceSettings, RedisPresence
from tests.channels.redis.rig import running
from tests.fault_proxy import FaultProxy
from tests.redis_link import quick_settings, running_link, until
from tests.redis_server import RedisServer

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000000"
OTHER = f"{ARN}1"
LIMIT = 10
QUICK = PresenceSettings(node=NodeSettings(lease_s=0.3, renew_s=0.1, amnesty_s=0.6, remember_s=5.0))


class NodeProcess:
    """A node in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def order(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n".encode())
        await self.process.stdin.drain()

    async def line(self) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return await self.process.stdout.readline()

    async def admissions(self) -> list[Admission]:
        return msgspec.json.decode(await self.line(), type=list[Admission])


@contextlib.asynccontextmanager
async def node_processes(url: str, *names: str) -> AsyncIterator[list[NodeProcess]]:
    """Nodes that are ready; whatever is left of them is killed at the end."""
    nodes = []
    try:
        for name in names:
            command = (sys.executable, "-m", "tests.channels.redis.presence_node", url, name, ARN)
            pipe = asyncio.subprocess.PIPE
            nodes.append(NodeProcess(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)))
        for node in nodes:
            assert await node.line() == b"ready\n"
        yield nodes
    finally:
        for node in nodes:
            if node.process.returncode is None:
                node.process.kill()
            await node.process.communicate()


@contextlib.asynccontextmanager
async def running_node(url: str, name: str, settings: PresenceSettings | None = None) -> AsyncIterator[RedisPresence]:
    """A node of this process: its link is up and its presence runs."""
    async with running_link(quick_settings(url, limit_s=1.0, watchdog_s=1.0)) as link:
        presence = RedisPresence(link, name, settings)
        async with running(presence.run()):
            await until(lambda: presence.nodes.is_held)
            yield presence


@pytest.mark.slow
async def test_races_of_two_processes_let_in_ten_and_leave_one_master(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with node_processes(server.url, "a", "b") as (a, b):
            await a.order(f"viewers 0 30 {LIMIT}")
            await b.order(f"viewers 30 60 {LIMIT}")
            viewers = [*await a.admissions(), *await b.admissions()]
            await a.order(f"masters 0 10 {LIMIT}")
            await b.order(f"masters 10 20 {LIMIT}")
            masters = [*await a.admissions(), *await b.admissions()]

    assert len({admission.holder.client_id for admission in viewers}) == len(viewers) == LIMIT
    masters.sort(key=lambda admission: admission.holder.fence)
    assert len({admission.holder.fence for admission in masters}) == 20
    assert [admission.replaced for admission in masters] == [None, *(each.holder for each in masters[:-1])]


@pytest.mark.faults
async def test_after_a_partition_the_higher_fence_stays(redis_server: RedisServer, redis_proxy: FaultProxy) -> None:
    async with (
        running_node(f"redis://{redis_proxy.host}:{redis_proxy.port}", "cut", QUICK) as cut,
        running_node(redis_server.url, "other", QUICK) as other,
    ):
        held = Lease(ARN, await admitted(cut, ARN, "cut-1"))
        kept = Lease(OTHER, await admitted(cut, OTHER, "cut-2"))
        redis_proxy.half_open()
        await until(lambda: other.nodes.dead == " cut ")
        assert await other.locate(ARN, Role.MASTER, "") is None
        newer = await other.admit(ARN, Role.MASTER, "", "other-1", LIMIT)
        assert newer is not None
        assert newer.replaced == held.holder, "whoever can reach it should close it"
        with pytest.raises(PresenceUnavailableError):
            await cut.admit(ARN, Role.MASTER, "", "cut-3", LIMIT)

        redis_proxy.pass_on()
        await until(lambda: cut.stats.lapsed >= 1)

        assert await renewed(cut, held, kept) == (held,)
        assert await renewed(other, Lease(ARN, newer.holder)) == ()
        await until(lambda: other.nodes.dead == " ")
        assert await other.locate(ARN, Role.MASTER, "") == newer.holder
        assert await other.locate(OTHER, Role.MASTER, "") == kept.holder


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["frozen", "killed", "emptied"])
async def test_nobody_is_taken_for_dead_when_redis_was_away(tmp_path: Path, fault: str) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True) as server:
        async with running_node(server.url, "a", QUICK) as a, running_node(server.url, "b", QUICK) as b:
            leases = [Lease(ARN, await admitted(a, ARN, "a-1")), Lease(OTHER, await admitted(b, OTHER, "b-1"))]
            deaths: list[str] = []
            if fault == "frozen":
                server.stop()
                await until(lambda: not a.nodes.is_held and not b.nodes.is_held)
                await asyncio.sleep(2 * QUICK.node.renew_s)  # Redis may have done one more renewal than was answered
                server.cont()
            else:
                server.kill()
                await until(lambda: not a.nodes.is_held and not b.nodes.is_held)
                server.restart(empty=fault == "emptied")
            await until(lambda: deaths.append(a.nodes.dead + b.nodes.dead) or (a.nodes.is_held and b.nodes.is_held))

            assert a.stats.lapsed + b.stats.lapsed >= 1
            for view, lease in zip((a, b), leases, strict=True):
                assert await renewed(view, lease) == ()
            assert [await view.locate(ARN, Role.MASTER, "") for view in (a, b)] == [leases[0].holder] * 2
            assert set(deaths) == {"  "}


async def renewed(view: RedisPresence, *leases: Lease) -> tuple[Lease, ...]:
    """What is lost of these; asked again while Redis has no time to answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(PresenceUnavailableError):
                return await view.renew(leases, LIMIT)
            await asyncio.sleep(0.01)


async def admitted(view: RedisPresence, channel: str, connection_id: str) -> Holder:
    admission = await view.admit(channel, Role.MASTER, "", connection_id, LIMIT)
    assert admission is not None
    return admission.holder
