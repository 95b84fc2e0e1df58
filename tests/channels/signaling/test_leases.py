"""The leases of one node: renewed, given back, lost; and what happens while presence is away."""

import asyncio

import pytest

from channels.names import Role
from channels.presence import Holder, Lease
from channels.signaling.leases import LeaseSettings
from channels.signaling.members import Connect
from tests.channels.signaling.leases_rig import ARN, Rig
from tests.channels.signaling.rig import channel, turns


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_each_lease_is_renewed_once_in_its_interval(rig: Rig) -> None:
    await rig.come()
    rig.clock.now += 2.0
    await rig.come("v1")
    await rig.wait(2.9)
    assert rig.presence.renewed == []
    await rig.wait(0.2)
    assert rig.presence.renewed == [1]
    await rig.wait(2.0)
    assert rig.presence.renewed == [1, 1]
    for _ in range(50):
        await rig.wait(0.5)
    assert 10 <= len(rig.presence.renewed) <= 13
    assert rig.stats.leases_renewed == sum(rig.presence.renewed)


async def test_many_leases_are_renewed_in_batches(rig: Rig) -> None:
    for _ in range(600):
        await rig.come()
    rig.leases.reassert()
    await rig.leases.renew_due()

    assert rig.presence.renewed == [250, 250, 100]
    assert (len(rig.lost), rig.stats.lease_lost, len(rig.leases)) == (599, 599, 1), "of one slot only the newest stays"


async def test_a_presence_that_forgot_everything_gets_it_back_at_once_when_told_to(rig: Rig) -> None:
    members = [await rig.come(), await rig.come("v1")]
    rig.presence._slots.channels.clear()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.leases.run())
        await turns()
        rig.leases.reassert()
        await turns()
        task.cancel()

    found = [await rig.presence.locate(ARN, m.holder.role, m.holder.client_id) for m in members]
    assert found == [member.holder for member in members]


async def test_who_was_pushed_out_when_others_were_put_back_is_told_soon(rig: Rig) -> None:
    """Redis is empty; a node lets somebody in before another one has put back three who were in with higher fences."""
    member = await rig.come("late")
    rig.presence._slots.channels.clear()
    rig.leases.reassert()
    await rig.wait(0.0)
    other = rig.presence.join("b")
    higher = [Holder(Role.VIEWER, f"v{n}", "b", f"b-{n}", member.holder.fence + 1 + n) for n in range(3)]
    assert await other.renew([Lease(ARN, holder) for holder in higher], 3) == ()
    await rig.wait(1.5)
    assert rig.lost == [member.id]


async def test_those_who_have_no_room_any_more_are_told_at_once_when_the_others_are_put_back(rig: Rig) -> None:
    """The node was away, and somebody took the room of one of its viewers."""
    members = [await rig.come(f"v{number}") for number in range(3)]
    rig.presence._slots.channels.clear()
    other = Holder(Role.VIEWER, "late", "b", "b-1", members[-1].holder.fence + 1)
    assert await rig.presence.join("b").renew([Lease(ARN, other)], 3) == ()
    rig.leases.reassert()
    await rig.leases.renew_due()
    assert rig.lost == [members[0].id]


async def test_after_leases_were_put_back_they_are_renewed_once_more_and_then_as_ever(rig: Rig) -> None:
    await rig.come()
    rig.leases.reassert()
    for _ in range(20):
        await rig.wait(0.5)
    assert len(rig.presence.renewed) == 3  # at 0, 1.5 and 6.5 s, each up to half a second early


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_reassertion_during_a_renewal_doubles_no_lease(rig: Rig, is_away: bool) -> None:
    await rig.come()
    rig.presence.is_slow = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.wait(5.0))
        await turns()
        rig.leases.reassert()
        rig.presence.fails_late = is_away
        rig.presence.is_slow.set()
    rig.presence.fails_late = False
    rig.presence.renewed.clear()
    for _ in range(40):
        await rig.wait(0.5)

    assert 3 <= sum(rig.presence.renewed) <= 6


async def test_a_lease_that_was_lost_is_told_and_takes_nothing_from_the_winner(rig: Rig) -> None:
    member = await rig.come()
    winner = await rig.presence.join("b").admit(ARN, Role.MASTER, "", "b-1", 3)
    await rig.wait(5.0)
    assert rig.lost == [member.id]
    await rig.leases.release(member)

    assert winner is not None
    assert await rig.presence.locate(ARN, Role.MASTER, "") == winner.holder
    assert len(rig.leases) == 0


async def test_a_lease_that_is_given_back_during_its_renewal_is_given_back_once(rig: Rig) -> None:
    member = await rig.come("v1")
    rig.presence.is_slow = asyncio.Event()
    rig.clock.now += 5.0
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.leases.renew_due())
        await turns()
        is_slow, rig.presence.is_slow = rig.presence.is_slow, None
        await rig.leases.release(member)
        await rig.leases.release(member)
        assert await rig.presence.count(ARN) == 0
        assert len(rig.leases) == 0
        is_slow.set()
    assert len(rig.leases) == 0
    await rig.leases.give_back()

    assert await rig.presence.count(ARN) == 0
    assert (rig.presence.renewed, rig.presence.left) == ([1], [1])


async def test_while_presence_is_away_only_the_first_asks_and_everything_is_made_up_for(rig: Rig) -> None:
    members = [await rig.come(), await rig.come("v1"), await rig.come("v2")]
    rig.presence.is_away = True
    rig.mailbox.is_away = True
    for member in members[1:]:
        await rig.leases.release(member)
    await rig.wait(0.5)
    assert rig.presence.asked == 1
    assert rig.leases.is_away
    await rig.wait(5.0)
    await rig.wait(0.5)
    assert rig.presence.asked == 2
    rig.presence.is_away = rig.mailbox.is_away = False
    await rig.wait(1.0)

    assert await rig.presence.count(ARN) == 0
    assert rig.presence.renewed == [1]
    assert (len(rig.leases), rig.lost, rig.stats.presence_unavailable) == (1, [], 2)
    assert rig.stats.mailbox_unavailable > 0


async def test_many_leases_are_given_back_in_one_go_and_those_that_wait_in_batches(rig: Rig) -> None:
    members = [await rig.come(), await rig.come("v1"), await rig.come("v2")]
    await rig.leases.release(*members, members[0])
    assert (rig.presence.left, rig.mailbox.seen) == ([3], [2])
    assert len(rig.leases) == len(rig.presence) == 0

    others = [await rig.come() for _ in range(600)]
    rig.presence.is_away = True
    await rig.leases.release(*others)
    assert len(rig.leases) == 600
    rig.presence.is_away = False
    await rig.wait(1.0)
    assert rig.presence.left == [3, 250, 250, 100]
    assert len(rig.leases) == 0


async def test_connections_that_go_all_the_time_keep_no_lease_from_its_renewal(rig: Rig) -> None:
    await rig.come()
    rig.presence.is_slow = asyncio.Event()
    members = [await rig.come("v1"), await rig.come("v2")]
    async with asyncio.TaskGroup() as group:
        for member in members:
            group.create_task(rig.leases.release(member))
            await turns()
            await rig.leases.give_back()  # returns: somebody else gives these back
        rig.presence.is_slow.set()

    assert rig.presence.left == [1, 1]
    assert len(rig.leases) == 1


async def test_a_lease_whose_return_nobody_waits_for_any_more_is_given_back_later(rig: Rig) -> None:
    member = await rig.come("v1")
    rig.presence.is_slow = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(rig.leases.release(member))
        await turns()
        leaving.cancel()
    assert (await rig.presence.count(ARN), len(rig.leases)) == (1, 1)
    rig.presence.is_slow.set()
    await rig.leases.give_back()
    assert (await rig.presence.count(ARN), len(rig.leases)) == (0, 0)


async def test_what_cannot_be_given_back_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.leases._LEAVING_LIMIT", 2)
    members = [await rig.come(name) for name in ("v1", "v2", "v3")]
    rig.presence.is_away = True
    for member in members:
        await rig.leases.release(member)

    assert len(rig.leases) == 2


async def test_a_node_alone_keeps_the_limits_and_the_newest_wins(rig: Rig) -> None:
    first = await rig.come(is_local=True)
    second = rig.leases.admit_locally(Connect(channel(), Role.MASTER), "a-9", "a", 5)
    assert second is not None
    assert second.replaced == first.holder
    assert second.holder.fence > first.holder.fence == 1_000_000
    for name in ("v1", "v2", "v3"):
        await rig.come(name, is_local=True)

    assert rig.leases.admit_locally(Connect(channel(), Role.VIEWER, "v4"), "a-10", "a", 5) is None
    again = rig.leases.admit_locally(Connect(channel(), Role.VIEWER, "v1"), "a-11", "a", 5)
    assert again is not None
    assert again.replaced is not None
    assert again.replaced.client_id == "v1"
    assert rig.stats.admitted_locally == 6


async def test_those_admitted_by_a_node_alone_are_put_forward_when_presence_is_back(rig: Rig) -> None:
    await rig.presence.join("b").admit(ARN, Role.VIEWER, "v1", "b-1", 3)
    winner = await rig.come("v1", is_local=True)
    rig.leases.look_later(winner)
    await rig.hold_for(winner.address)
    await rig.leases.renew_due()

    assert await rig.presence.locate(ARN, Role.VIEWER, "v1") == winner.holder
    assert rig.back == [winner.id]


async def test_it_rests_while_nothing_is_due_and_looks_again_when_somebody_comes(rig: Rig) -> None:
    rig.leases.settings = LeaseSettings(renew_s=0.05)
    rig.clock.now = 0.0
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.leases.run())
        await turns()
        await rig.come()
        rig.clock.now += 0.05
        async with asyncio.timeout(15):
            while not rig.presence.renewed:  # noqa: ASYNC110  # the task looks at the real clock
                await asyncio.sleep(0.005)
        task.cancel()
