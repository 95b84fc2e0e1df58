"""How the connections of a node end: one after another, each with its lease back and its messages answered."""

import asyncio
from collections.abc import Sequence

import pytest

from channels.embedded.presence import EmbeddedPresence
from channels.names import Role
from channels.presence import Lease, PresenceUnavailableError
from channels.signaling.drain import plan
from channels.signaling.limits import Limits
from channels.signaling.members import Member
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from tests.channels.signaling.rig import Node, channel, cluster, running, turns

ARN = str(channel().arn)
GONE = (1001, "this node is going away")


class Presence(EmbeddedPresence):
    """One that answers to who leaves while its gate is open, and not at all while it is away."""

    def __init__(self) -> None:
        super().__init__("a")
        self.may_leave = asyncio.Event()
        self.may_leave.set()
        self.is_away = False
        self.left: list[int] = []

    async def leave(self, leases: Sequence[Lease]) -> None:
        await self.may_leave.wait()
        if self.is_away:
            raise PresenceUnavailableError
        self.left.append(len(leases))
        await super().leave(leases)


def alone() -> tuple[Node, Presence]:
    (node,) = cluster(Limits.relaxed())
    presence = Presence()
    node.hub._presence = node.hub._leases._presence = presence
    return node, presence


def test_everybody_has_a_part_of_the_time_of_its_own() -> None:
    members: list[Member] = [object() for _ in range(100)]  # type: ignore[misc]  # only their number counts
    planned = plan(members, 1000.0, 50.0)

    assert all(1000.0 + number / 2 <= at < 1000.0 + (number + 1) / 2 for number, (at, _) in enumerate(planned))
    assert {id(member) for _, member in planned} == set(map(id, members))
    assert [member for _, member in planned] != members, "not in the order in which they came"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the machine stalls, nothing is given up; a test of what is makes that limit short."""
    for name in ("_ANSWERED_S", "_RELEASE_S", "_LEAST_S"):
        monkeypatch.setattr(f"channels.signaling.drain.{name}", 15.0)
    monkeypatch.setattr("channels.signaling.hub._SETTLE_S", 15.0)


async def test_those_whose_time_comes_together_give_their_leases_back_in_one_go() -> None:
    node, presence = alone()
    async with running(node):
        seen = [(await node.master(to=channel(f"c{number}")))[1] for number in range(300)]
        await node.hub.drain(0.0)

    assert presence.left == [250, 50]
    assert {recorder.closed for recorder in seen} == {GONE}
    assert len(presence) == node.hub.leases == 0


async def test_a_connection_is_closed_when_its_lease_is_back_and_gets_what_is_for_it_until_then() -> None:
    node, presence = alone()
    async with running(node), asyncio.TaskGroup() as group:
        _, at_master = await node.master()
        presence.may_leave.clear()
        group.create_task(node.hub.drain(0.1))
        async with asyncio.timeout(15):
            while node.hub._leases._held:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not at_master.is_paused
        assert at_master.closed is None
        assert node.hub._relay.give(node.hub._members.of(ARN)[0], b"{}")
        presence.may_leave.set()
        await at_master.wait_for(1)
    assert at_master.closed == GONE


async def test_a_presence_that_does_not_answer_keeps_nobody_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.drain._LEAST_S", 0.02)
    monkeypatch.setattr("channels.signaling.hub._SETTLE_S", 0.02)
    node, presence = alone()
    async with running(node):
        (_, at_master), (_, at_viewer) = await node.master(), await node.viewer("v1")
        presence.may_leave.clear()
        await node.hub.drain(0.0)
        assert at_master.closed == at_viewer.closed == GONE
        assert node.hub.leases == 2
        await node.hub.settle()  # only messages are waited for now
        presence.may_leave.set()
        await node.hub._leases.give_back()
        assert node.hub.leases == 0


async def test_while_presence_is_away_everybody_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.hub._SETTLE_S", 0.02)
    node, presence = alone()
    presence.is_away = True
    async with running(node):
        (_, at_master), (_, at_viewer) = await node.master(), await node.viewer("v1")
        await node.hub.drain(0.0)

    assert at_master.closed == at_viewer.closed == GONE
    assert node.hub.leases == 2


async def test_whoever_waits_for_an_answer_gets_it_before_the_close() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        (master, at_master), (quiet, at_quiet) = await node.master(), await node.viewer("v1")
        node.mailbox.may_hold.clear()
        node.say(master, "AAAA", recipientClientId="never", correlationId="1")
        node.say(quiet, "AAAA", recipientClientId="nobody waits for this one")
        draining = group.create_task(node.hub.drain(0.0))
        async with asyncio.timeout(15):
            while at_quiet.closed is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert at_master.is_paused
        assert at_master.closed is None
        node.mailbox.may_hold.set()
        await draining

    assert [status["correlationId"] for status in at_master.statuses] == ["1"]
    assert at_master.closed == GONE


async def test_whoever_waits_behind_what_is_held_for_its_recipient_is_not_closed_before() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        viewer, at_viewer = await node.viewer("v1")
        node.mailbox.may_take.clear()
        coming = group.create_task(node.master())
        await turns()
        node.say(viewer, "AAAA", correlationId="1")
        draining = group.create_task(node.hub.drain(0.0))
        await asyncio.sleep(0.05)
        assert at_viewer.closed is None
        node.mailbox.may_take.set()
        await draining
        assert coming.result()[1].payloads == ["AAAA"]


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.drain._ANSWERED_S", 0.02)
    monkeypatch.setattr("channels.signaling.hub._SETTLE_S", 0.02)
    (node,) = cluster()
    async with running(node):
        master, at_master = await node.master()
        node.mailbox.may_hold.clear()
        node.say(master, "AAAA", recipientClientId="never", correlationId="1")
        await node.hub.drain(0.0)
        assert at_master.closed == GONE
        assert node.hub.is_busy


async def test_whoever_leaves_before_its_time_is_not_closed_and_its_lease_is_back_too() -> None:
    node, presence = alone()
    async with running(node), asyncio.TaskGroup() as group:
        member, at_master = await node.master()
        presence.may_leave.clear()
        draining = group.create_task(node.hub.drain(0.1))
        await turns()
        node.hub.forget(member)
        presence.may_leave.set()
        await draining

    assert at_master.closed is None
    assert (node.hub.leases, len(presence)) == (0, 0)


async def test_what_was_said_before_the_close_was_heard_is_brought_on_and_nothing_after_any_other_close() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a, b):
        _, at_master = await b.master()
        replaced, _ = await a.viewer("v1")
        going, at_viewer = await a.viewer("v1")
        await a.hub.drain(0.0)
        a.say(replaced, "AAA0")
        a.say(going, "AAA1", correlationId="1")
        a.say(going, "AAA2", "NONSENSE", correlationId="2")
        await at_master.wait_for(1)
        await a.hub.settle()
        assert not a.hub.is_busy

    assert at_master.payloads == ["AAA1"]
    assert at_viewer.frames == []
    assert a.hub.stats.messages["viewer", "none", "malformed"] == 1


async def test_what_is_said_to_a_connection_that_has_gone_is_held_for_the_next_one_elsewhere() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a, b):
        (master, _), (_, at_first) = await b.master(), await a.viewer("v1")
        b.say(master, "AAA1", recipientClientId="v1")
        await at_first.wait_for(1)  # so b knows where it is
        await a.hub.drain(0.0)
        b.say(master, "AAA2", recipientClientId="v1")
        await b.settle()
        _, at_second = await b.viewer("v1")

    assert (at_first.payloads, at_second.payloads) == (["AAA1"], ["AAA2"])
    assert await b.mailbox.take(ARN, Address(Role.VIEWER, "v1")) == await b.mailbox.take(ARN, MASTER) == ()
    assert b.hub.stats.messages["master", Action.ICE_CANDIDATE.value, "held"] == 1
