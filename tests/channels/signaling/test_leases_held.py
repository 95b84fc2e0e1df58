"""What is looked for in the mailbox when leases were put back, for whom, and how often."""

import asyncio

import pytest

from channels.signaling.protocol import MASTER
from tests.channels.signaling.leases_rig import Rig
from tests.channels.signaling.rig import turns


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_who_was_forgotten_gets_what_was_held_meanwhile_and_nobody_else_waits_for_it(rig: Rig) -> None:
    master = await rig.come()
    for name in ("v1", "v2"):
        await rig.come(name)
    await rig.wait(5.0)
    assert rig.mailbox.peeked == [], "nobody was forgotten"

    await rig.hold_for(MASTER)
    rig.leases.reassert()
    await rig.wait(0.0)

    assert rig.mailbox.peeked == [3]
    assert rig.back == [master.id]


async def test_mail_held_by_a_node_that_reads_late_who_is_alive_is_looked_for_once_more(rig: Rig) -> None:
    master = await rig.come()
    rig.leases.reassert()
    await rig.wait(0.0)
    assert rig.back == []
    await rig.hold_for(MASTER)
    await rig.wait(1.5)
    assert rig.back == [master.id]

    await rig.wait(5.0)
    assert rig.mailbox.peeked == [1, 1], "after that senders know again where it is"


async def test_a_mailbox_that_does_not_answer_is_looked_at_again_when_the_lease_is_renewed_next(rig: Rig) -> None:
    master = await rig.come()
    await rig.hold_for(MASTER)
    rig.leases.reassert()
    rig.mailbox.is_away = True
    await rig.wait(0.0)
    assert (rig.back, rig.stats.mailbox_unavailable) == ([], 1)
    rig.mailbox.is_away = False
    await rig.wait(1.5)

    assert rig.back == [master.id]


async def test_all_leases_are_put_back_before_the_mailbox_is_asked_for_many_at_a_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.signaling.leases._BATCH", 2)
    for name in ("", "v1", "v2"):
        await rig.come(name)
    rig.leases.reassert()
    rig.mailbox.on_peek = lambda: rig.presence.renewed.append(0)
    await rig.wait(0.0)

    assert rig.presence.renewed == [2, 1, 0, 0]
    assert rig.mailbox.peeked == [2, 1]


async def test_who_was_put_back_before_presence_went_away_again_is_looked_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.signaling.leases._BATCH", 2)
    members = [await rig.come(name) for name in ("v1", "", "v2")]
    for member in members:
        await rig.hold_for(member.address)
    rig.leases.reassert()
    rig.presence.answers = 1
    await rig.wait(0.0)

    assert rig.presence.renewed == [2]
    assert rig.back == [member.id for member in members[:0:-1]]


async def test_who_left_is_looked_for_no_more(rig: Rig) -> None:
    master = await rig.come()
    await rig.hold_for(MASTER)
    rig.leases.reassert()
    await rig.leases.release(master)
    rig.leases.look_later(master)
    await rig.wait(5.0)

    assert (rig.back, rig.mailbox.peeked) == ([], [])
    assert not rig.leases._unseen


async def test_a_renewal_that_began_before_a_reassertion_is_no_look_after_it(rig: Rig) -> None:
    await rig.come()
    rig.presence.is_slow = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.wait(5.0))
        await turns()
        rig.leases.reassert()
        rig.presence.is_slow.set()
    await rig.wait(1.5)

    assert rig.mailbox.peeked == [2, 1], "by both renewals at once, and once more"
