"""What presence over Redis adds to the contract: leases that end, nodes that die, a server that forgets or is away."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from channels.names import Role
from channels.presence import Admission, Holder, Lease, PresenceUnavailableError
from channels.redis.presence import PresenceSettings, RedisPresence
from tests.channels.redis.rig import CALM, age, lapse, links, redis_presence, running
from tests.redis_link import PATIENT_S, hurried, patient_settings, until
from tests.redis_server import RedisServer

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000000"
LIMIT = 3
Views = tuple[RedisPresence, RedisPresence]


@pytest.fixture
async def views(redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[Views]:
    """Two nodes' views, `a` and `b`."""
    async with redis_presence(redis_server.url, redis_prefix, "a", "b") as (a, b):
        yield a, b


async def master(view: RedisPresence, connection_id: str) -> Admission:
    admission = await view.admit(ARN, Role.MASTER, "", connection_id, LIMIT)
    assert admission is not None
    return admission


async def viewer(view: RedisPresence, number: int) -> Lease | None:
    admission = await view.admit(ARN, Role.VIEWER, f"v{number}", f"c{number}", LIMIT)
    return None if admission is None else Lease(ARN, admission.holder)


async def fill(view: RedisPresence) -> list[Lease]:
    leases = [await viewer(view, number) for number in range(LIMIT)]
    return [lease for lease in leases if lease is not None]


async def test_a_lease_that_is_not_renewed_ends_by_itself(redis_server: RedisServer, redis_prefix: str) -> None:
    settings = msgspec.structs.replace(CALM, lease_s=60.0)
    async with redis_presence(redis_server.url, redis_prefix, "a", "b", settings=settings) as (a, b):
        first = await master(a, "a-1")
        await fill(a)
        age(redis_server, redis_prefix, ARN, 60.0)

        assert await b.count(ARN) == 0
        assert await b.locate(ARN, Role.MASTER, "") is None
        assert len(await fill(b)) == LIMIT
        assert (await master(b, "b-1")).replaced is None
        assert await a.renew([Lease(ARN, first.holder)], LIMIT) == (Lease(ARN, first.holder),)
        age(redis_server, redis_prefix, ARN, 60.0)
        assert await a.renew([Lease(ARN, first.holder)], LIMIT) == (), "the newer one is gone as well"


async def test_a_renewed_lease_goes_on(redis_server: RedisServer, redis_prefix: str) -> None:
    settings = msgspec.structs.replace(CALM, lease_s=60.0)
    async with redis_presence(redis_server.url, redis_prefix, "a", settings=settings) as (a,):
        lease = await viewer(a, 1)
        assert lease is not None
        for _ in range(3):
            age(redis_server, redis_prefix, ARN, 40.0)
            assert await a.renew([lease], LIMIT) == ()
        age(redis_server, redis_prefix, ARN, 40.0)

        assert await a.locate(ARN, Role.VIEWER, "v1") == lease.holder
        assert a.stats.put_back == a.stats.lost == 0


async def test_the_slots_of_a_dead_node_are_free_and_its_master_is_named(
    views: Views, redis_server: RedisServer, redis_prefix: str
) -> None:
    a, b = views
    dead_master, _ = await master(a, "a-1"), await fill(a)
    assert await viewer(b, 7) is None
    lapse(redis_server, redis_prefix, "a")
    await b.nodes.renew()

    assert await b.count(ARN) == 0
    assert await b.locate(ARN, Role.MASTER, "") is None
    assert await viewer(b, 7) is not None
    assert await b.count(ARN) == 1
    assert (await master(b, "b-1")).replaced == dead_master.holder


async def test_a_node_that_counted_as_dead_puts_its_claims_back_before_it_admits_anybody(
    views: Views, redis_server: RedisServer, redis_prefix: str
) -> None:
    a, b = views
    told: list[str] = []
    a.on_lapse.append(lambda: told.append("a"))
    leases = await fill(a)
    lapse(redis_server, redis_prefix, "a")
    await b.nodes.renew()
    assert await viewer(b, 7) is not None  # takes what counts as free
    await a.nodes.renew()

    assert await viewer(a, 8) is None

    assert told == ["a"]
    assert a.stats.lapsed == 1
    await b.nodes.renew()
    assert await b.count(ARN) == LIMIT
    assert await a.renew(leases, LIMIT) == (leases[0],)  # the lowest fence gave way to that of the newcomer
    assert len(a) == LIMIT - 1


async def test_a_stopping_node_frees_its_slots_at_once(views: Views) -> None:
    a, b = views
    async with running(a.run()) as (run,):
        await fill(a)
        run.cancel()
        await asyncio.wait([run])
    await b.nodes.renew()

    assert await viewer(b, 7) is not None


async def test_a_new_node_takes_nobody_for_dead(views: Views, redis_server: RedisServer, redis_prefix: str) -> None:
    a, _ = views
    await a.nodes.renew()
    async with redis_presence(redis_server.url, redis_prefix, "new") as (new,):
        leases = await fill(new)
        assert await viewer(a, 7) is None
        assert await a.count(ARN) == LIMIT
        assert await new.renew(leases, LIMIT) == ()


async def test_redis_that_forgot_everything_is_told_again_and_fences_still_grow(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with redis_presence(server.url, "heliograph", "a", "b") as (a, b):
            held = Lease(ARN, (await master(a, "a-1")).holder)
            leases = [held, *await fill(a)]
            server.restart(empty=True)
            for view in (a, b):
                await reached(view)
                view.nodes.on_lapse[0]()  # as the link does at its new connection

            assert await viewer(a, 7) is None, "a node overlooks no claims of its own"
            assert await a.renew(leases, LIMIT) == ()
            assert await viewer(b, 7) is None
            assert await b.locate(ARN, Role.MASTER, "") == held.holder
            newer = await master(b, "b-1")
            assert newer.replaced == held.holder
            assert newer.holder.fence > held.holder.fence


async def reached(view: RedisPresence) -> None:
    """Once Redis answers: connections to the old one end with an error each."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            with contextlib.suppress(PresenceUnavailableError):
                await view.count(ARN)
                return


async def test_no_admission_fails_when_scripts_are_flushed(views: Views, redis_server: RedisServer) -> None:
    async def connect(number: int) -> None:
        for turn in range(10):
            assert await views[number % 2].admit(f"{ARN}{number}", Role.MASTER, "", f"c{number}-{turn}", LIMIT)
            if number == 0:
                await asyncio.to_thread(redis_server.command, "SCRIPT", "FLUSH")

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(connect(number))


async def test_frozen_redis_is_an_error_in_time_and_does_later_what_nobody_wants_any_more_not_at_all(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with redis_presence(server.url, "heliograph", "a") as (a,):
            first = await master(a, "a-1")
            server.stop()
            begun = time.monotonic()
            with hurried(a._link):
                with pytest.raises(PresenceUnavailableError):
                    await a.admit(ARN, Role.MASTER, "", "a-2", LIMIT)
                with pytest.raises(PresenceUnavailableError):
                    await a.renew([Lease(ARN, first.holder)], LIMIT)
            assert time.monotonic() - begun < PATIENT_S
            server.cont()
            await reached(a)

            assert await a.locate(ARN, Role.MASTER, "") == first.holder
            assert a.stats.unavailable >= 2


async def test_what_nobody_waits_for_any_more_is_taken_back(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with redis_presence(server.url, "heliograph", "a", "b") as (a, b):
            await master(a, "a-0")
            server.stop()
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(viewer(a, 1))
                await asyncio.sleep(0.01)  # the command is on its way
                waiting.cancel()
            server.cont()
            assert len(a) == 2

            async with running(a.run()):
                await until(lambda: len(a) == 1)
            assert await b.count(ARN) == 0


async def test_a_leave_that_was_not_answered_is_made_good(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with redis_presence(server.url, "heliograph", "a") as (a,):
            lease = await viewer(a, 1)
            assert lease is not None
            server.stop()
            with hurried(a._link), pytest.raises(PresenceUnavailableError):
                await a.leave([Lease(ARN, lease.holder)])
            server.cont()
            async with running(a.run()):
                await until(lambda: len(a) == 0)
            assert await a.count(ARN) == 0


async def test_what_was_not_taken_back_is_when_the_node_ends(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with redis_presence(server.url, "heliograph", "a", "b") as (a, b):
            leases = [await viewer(a, number) for number in range(LIMIT)]
            async with running(a.run()):
                await until(lambda: a.nodes.is_held)
                server.stop()
                with hurried(a._link), pytest.raises(PresenceUnavailableError):
                    await a.leave([Lease(ARN, lease.holder) for lease in leases if lease is not None])
                assert len(a) == LIMIT
                server.cont()
            assert len(a) == 0
            assert await b.count(ARN) == 0


async def test_a_node_that_ends_takes_back_what_was_not_answered_while_it_tells_its_end(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    patient = msgspec.structs.replace(CALM, stop_s=60.0)
    async with redis_presence(redis_server.url, redis_prefix, "a", settings=patient) as (a,):
        lease = await viewer(a, 1)
        assert lease is not None
        renew, has_begun = a.nodes.renew, asyncio.Event()

        async def begin() -> float:
            has_begun.set()
            return await renew()

        async def far_away() -> None:
            await until(lambda: len(a) == 0)

        a.nodes.renew, a.nodes.end = begin, far_away  # type: ignore[method-assign]
        async with running(a.run()):
            await has_begun.wait()
            a._claims.remove(ARN, lease.holder)
            a._undo(ARN, "viewer:v1", lease.holder.connection_id, lease.holder.fence)
        assert len(a) == 0
        assert await a.count(ARN) == 0


async def test_a_lease_that_leaves_while_it_is_renewed_is_not_left_behind(views: Views) -> None:
    a, b = views
    leases = [Lease(f"{ARN}{n}", Holder(Role.MASTER, "", "a", f"c{n}", n + 1)) for n in range(120)]
    async with asyncio.TaskGroup() as group:
        renewal = group.create_task(a.renew(leases, LIMIT))
        await asyncio.sleep(0)
        for lease in (leases[0], leases[60], leases[-1]):
            await a.leave([lease])

    assert renewal.result() == ()
    async with running(a.run()):
        await until(lambda: len(a) == 117)
    found = [await b.locate(leases[n].channel, Role.MASTER, "") for n in (0, 1, 60, 119)]
    assert [holder and holder.connection_id for holder in found] == [None, "c1", None, None]


async def test_leases_in_a_redis_that_is_far_away_are_renewed_before_the_first_answer(views: Views) -> None:
    a, b = views
    leases = [Lease(f"{ARN}{n}", Holder(Role.MASTER, "", "a", f"c{n}", n + 1)) for n in range(120)]
    prolong, asked, has_all = a._prolong, [], asyncio.Event()

    async def far_away(leases: list[Lease], viewer_limit: int) -> list[Lease]:
        asked.append(len(leases))
        if len(asked) == 3:
            has_all.set()
        await has_all.wait()
        return await prolong(leases, viewer_limit)

    a._prolong = far_away  # type: ignore[method-assign]
    newer = await b.admit(leases[60].channel, Role.MASTER, "", "newer", LIMIT)
    assert newer is not None
    assert await a.renew(leases, LIMIT) == (leases[60],)
    assert asked == [50, 50, 20]
    assert a.stats.renewed == 119


async def test_in_a_cluster_each_lease_is_renewed_by_itself(redis_server: RedisServer, redis_prefix: str) -> None:
    settings = patient_settings(redis_server.url, prefix=redis_prefix)
    async with links(settings, 1) as (link,):
        link.is_cluster = True  # keys of one script must lie in one slot there
        presence = RedisPresence(link, "a", CALM)
        first, second = await master(presence, "a-1"), await master(presence, "a-2")
        leases = [Lease(f"{ARN}1", second.holder), Lease(ARN, first.holder), Lease(ARN, second.holder)]

        assert await presence.renew(leases, LIMIT) == (leases[1],)
        assert (presence.stats.renewed, presence.stats.put_back, presence.stats.lost) == (2, 1, 1)


async def test_redis_with_another_time_than_before_refuses_nobody(redis_server: RedisServer, redis_prefix: str) -> None:
    now = 1000.0
    async with redis_presence(redis_server.url, redis_prefix, "a", now=lambda: now) as (a,):
        await master(a, "a-1")
        now -= 50.0  # as if a server took over whose clock is ahead

        assert (await master(a, "a-2")).replaced is not None


async def test_what_redis_refuses_is_told_once_and_ends_nothing(
    redis_server: RedisServer, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_presence(redis_server.url, redis_prefix, "a") as (a,):
        lease = await viewer(a, 1)
        assert lease is not None
        redis_server.command("SET", f"{redis_prefix}:{{{ARN}}}:slots", "spoiled")
        redis_server.command("SET", f"{redis_prefix}:{{nodes}}:leases", "spoiled")
        for _ in range(2):
            with pytest.raises(PresenceUnavailableError):
                await a.renew([lease], LIMIT)
        async with running(a.run()) as (task,):
            await until(lambda: a.stats.unavailable == 2)
            redis_server.command("DEL", f"{redis_prefix}:{{nodes}}:leases", f"{redis_prefix}:{{{ARN}}}:slots")
            await until(lambda: a.nodes.is_held)
            assert not task.done()
        assert await a.renew([lease], LIMIT) == ()
        assert await a.count(ARN) == 1

    assert [record.message for record in caplog.records] == ["redis refuses what presence needs"]


@pytest.mark.parametrize("behind_us", [-1_000_000, 1_000_000])
async def test_who_was_let_in_without_redis_keeps_its_slot_when_the_unanswered_admission_is_taken_back(
    redis_server: RedisServer, redis_prefix: str, behind_us: int
) -> None:
    async with redis_presence(redis_server.url, redis_prefix, "a", "a") as (a, unheard):
        admission = await master(unheard, "a-1")  # Redis did it, and a has no answer
        a._undo(ARN, "master", "a-1")
        local = Holder(Role.MASTER, "", "a", "a-1", admission.holder.fence - behind_us)
        assert await a.renew([Lease(ARN, local)], LIMIT) == ()
        async with running(a.run()):
            await until(lambda: len(a) == 1)

        assert await unheard.locate(ARN, Role.MASTER, "") == local


def test_a_dead_node_is_remembered_while_its_leases_may_last() -> None:
    assert PresenceSettings.of(15.0, 2.5) == PresenceSettings()
    longer = PresenceSettings.of(60.0, 10.0)
    assert (longer.lease_s, longer.node.lease_s, longer.node.renew_s) == (60.0, 10.0, pytest.approx(3.2))
    assert longer.node.remember_s > longer.lease_s
