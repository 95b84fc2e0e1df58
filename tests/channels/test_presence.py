"""The contract of presence, held by every implementation: each node has its own view of the same slots."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from channels.embedded.presence import EmbeddedPresence
from channels.names import Role
from channels.presence import Admission, Holder, Lease, Presence
from tests.channels.redis.rig import redis_presence
from tests.redis_server import RedisServer

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000000"
OTHER = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000001"
LIMIT = 10


@pytest.fixture(params=["embedded", "redis"])
async def views(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[tuple[Presence, Presence]]:
    """Two nodes' views, `a` and `b`, of one presence."""
    if request.param == "embedded":
        presence = EmbeddedPresence("a")
        yield presence, presence.join("b")
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with redis_presence(server.url, redis_prefix, "a", "b") as (a, b):
        yield a, b


async def viewer(presence: Presence, client_id: str, connection_id: str = "c", limit: int = LIMIT) -> Admission | None:
    return await presence.admit(ARN, Role.VIEWER, client_id, connection_id, limit)


async def master(presence: Presence, connection_id: str) -> Admission:
    admission = await presence.admit(ARN, Role.MASTER, "", connection_id, LIMIT)
    assert admission is not None
    return admission


async def test_an_admitted_connection_is_found_from_every_node(views: tuple[Presence, Presence]) -> None:
    a, b = views
    admission = await viewer(a, "v1", "a-1")

    assert admission is not None
    assert admission.replaced is None
    found = await b.locate(ARN, Role.VIEWER, "v1")
    assert found == admission.holder
    assert found is not None
    assert (found.node, found.connection_id, found.role, found.client_id) == ("a", "a-1", Role.VIEWER, "v1")


async def test_nobody_is_found_in_an_empty_slot(views: tuple[Presence, Presence]) -> None:
    a, _ = views
    await viewer(a, "v1")

    assert await a.locate(ARN, Role.VIEWER, "v2") is None
    assert await a.locate(ARN, Role.MASTER, "v1") is None
    assert await a.locate(OTHER, Role.VIEWER, "v1") is None


async def test_the_newest_master_wins_and_the_one_before_is_named(views: tuple[Presence, Presence]) -> None:
    a, b = views
    first = await master(a, "a-1")
    second = await master(b, "b-1")

    assert second.replaced == first.holder
    assert second.holder.fence > first.holder.fence
    assert await a.locate(ARN, Role.MASTER, "whatever") == second.holder


async def test_the_same_viewer_id_replaces_even_in_a_full_channel(views: tuple[Presence, Presence]) -> None:
    a, b = views
    first = await viewer(a, "v1", "a-1", limit=1)
    again = await viewer(b, "v1", "b-1", limit=1)

    assert first is not None
    assert again is not None
    assert again.replaced == first.holder
    assert await viewer(b, "v2", limit=1) is None
    assert await a.count(ARN) == 1


async def test_one_viewer_too_many_is_refused_until_one_leaves(views: tuple[Presence, Presence]) -> None:
    a, b = views
    inside = [await viewer((a, b)[n % 2], f"v{n}") for n in range(LIMIT)]
    assert all(inside)
    assert await viewer(b, "late") is None
    assert await a.count(ARN) == LIMIT

    assert inside[3] is not None
    await b.leave([Lease(ARN, inside[3].holder)])

    assert await viewer(b, "late") is not None


async def test_the_master_takes_no_viewer_slot(views: tuple[Presence, Presence]) -> None:
    a, _ = views
    await master(a, "a-1")

    assert await a.count(ARN) == 0
    assert await viewer(a, "v1", limit=1) is not None


async def test_racing_viewers_fill_the_channel_exactly(views: tuple[Presence, Presence]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(viewer(views[n % 2], f"v{n}", f"c{n}")) for n in range(60)]

    assert sum(task.result() is not None for task in tasks) == LIMIT
    assert await views[0].count(ARN) == LIMIT


async def test_racing_masters_are_each_replaced_once_but_the_last(views: tuple[Presence, Presence]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(master(views[n % 2], f"c{n}")) for n in range(20)]

    admissions = [task.result() for task in tasks]
    last = await views[0].locate(ARN, Role.MASTER, "")
    assert last is not None
    replaced = {admission.replaced.connection_id for admission in admissions if admission.replaced is not None}
    assert replaced | {last.connection_id} == {f"c{n}" for n in range(20)}
    assert len({admission.holder.fence for admission in admissions}) == 20
    assert last.fence == max(admission.holder.fence for admission in admissions)


async def test_leaving_after_being_replaced_takes_nothing_from_the_newer(views: tuple[Presence, Presence]) -> None:
    a, b = views
    first = await master(a, "a-1")
    second = await master(b, "b-1")

    await a.leave([Lease(ARN, first.holder)])
    assert await a.locate(ARN, Role.MASTER, "") == second.holder

    await b.leave([Lease(ARN, second.holder)])
    await b.leave([Lease(ARN, second.holder)])
    assert await a.locate(ARN, Role.MASTER, "") is None


async def test_many_leave_in_one_go_and_only_who_lost_its_slot_takes_nothing(views: tuple[Presence, Presence]) -> None:
    a, b = views
    inside = [await viewer(a, f"v{number}", f"a-{number}") for number in range(LIMIT)]
    newer = await viewer(b, "v1", "b-1")
    assert newer is not None
    await a.leave([Lease(ARN, each.holder) for each in inside if each is not None])
    await a.leave([])

    assert await a.count(ARN) == 1
    assert await a.locate(ARN, Role.VIEWER, "v1") == newer.holder


async def test_the_fence_grows_after_a_channel_was_empty(views: tuple[Presence, Presence]) -> None:
    a, b = views
    first = await master(a, "a-1")
    await a.leave([Lease(ARN, first.holder)])

    assert (await master(b, "b-1")).holder.fence > first.holder.fence


async def test_a_lease_that_is_held_is_renewed_and_one_that_was_taken_over_is_lost(
    views: tuple[Presence, Presence],
) -> None:
    a, b = views
    first, second = await master(a, "a-1"), await master(b, "b-1")

    assert await b.renew([Lease(ARN, second.holder)], LIMIT) == ()
    assert await a.renew([Lease(ARN, first.holder)], LIMIT) == (Lease(ARN, first.holder),)
    assert await a.renew([], LIMIT) == ()
    assert await a.locate(ARN, Role.MASTER, "") == second.holder


async def test_a_forgotten_claim_is_put_back_with_its_fence(views: tuple[Presence, Presence]) -> None:
    a, b = views
    held, watching = await master(a, "a-1"), await viewer(a, "v1", "a-2")
    assert watching is not None
    leases = [Lease(ARN, held.holder), Lease(ARN, watching.holder)]
    await a.leave(leases)

    assert await a.renew(leases, LIMIT) == ()

    assert await b.locate(ARN, Role.MASTER, "") == held.holder
    assert await b.locate(ARN, Role.VIEWER, "v1") == watching.holder
    assert await b.count(ARN) == 1
    assert (await master(b, "b-1")).holder.fence > held.holder.fence


async def test_of_two_claims_to_a_slot_the_higher_fence_stays(views: tuple[Presence, Presence]) -> None:
    a, b = views
    admission = await master(a, "a-1")
    higher = Lease(ARN, Holder(Role.MASTER, "", "b", "b-1", admission.holder.fence + 1))

    assert await b.renew([higher], LIMIT) == ()
    assert await a.renew([Lease(ARN, admission.holder)], LIMIT) == (Lease(ARN, admission.holder),)

    assert await a.locate(ARN, Role.MASTER, "") == higher.holder
    assert (await master(a, "a-2")).holder.fence > higher.holder.fence


@pytest.mark.parametrize("order", [1, -1])
async def test_of_too_many_viewers_the_higher_fences_stay(views: tuple[Presence, Presence], order: int) -> None:
    a, b = views
    admissions = [await viewer((a, b)[n % 2], f"v{n}", f"c{n}", limit=4) for n in range(4)]
    leases = [Lease(ARN, admission.holder) for admission in admissions if admission is not None]
    for lease in leases:
        await a.leave([Lease(ARN, lease.holder)])

    lost = {lease for lease in leases[::order] if await a.renew([lease], 3)}
    lost.update(await a.renew(leases, 3))

    assert lost == {leases[0]}
    assert await b.count(ARN) == 3
    assert await b.locate(ARN, Role.VIEWER, "v0") is None
