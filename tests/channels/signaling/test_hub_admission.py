"""Whom a hub lets in: limits, rates, and what changes while it decides."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from channels.embedded.presence import EmbeddedPresence
from channels.errors import ClientLimitExceededException, ServiceUnavailableException, UnrecognizedClientException
from channels.names import Role
from channels.presence import Admission, Holder, Lease, PresenceUnavailableError
from channels.signaling.leases import LeaseSettings
from channels.signaling.limits import Limits, Rate
from channels.signaling.mailbox import Mail, MailboxUnavailableError
from channels.signaling.members import Connect
from channels.signaling.protocol import Address
from tests.channels.signaling.rig import Node, Recorder, channel, cluster, running, turns


async def test_twenty_parallel_viewers_admit_exactly_ten_and_the_next_when_one_leaves(
    nodes: tuple[Node, Node],
) -> None:
    async with running(*dict.fromkeys(nodes)):
        admitted, refused = [], []

        async def come(number: int) -> None:
            try:
                member, _ = await nodes[number % 2].viewer(f"v{number}")
                admitted.append((nodes[number % 2], member))
            except ClientLimitExceededException as error:
                refused.append(error.limit)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(come(number))
        assert len(admitted) == 10
        assert {limit.name for limit in refused if limit} == {"viewers_per_channel"}

        with pytest.raises(ClientLimitExceededException, match="10 viewers"):
            await nodes[0].hub.check_admission(channel(), Role.VIEWER, "late")
        node, member = admitted[0]
        await nodes[0].hub.check_admission(channel(), Role.VIEWER, member.address.client_id)
        await node.hub.disconnect(member)
        await nodes[1].hub.check_admission(channel(), Role.VIEWER, "late")
        await nodes[1].viewer("late")


async def test_masters_that_fight_are_held_to_the_rate_and_named(caplog: pytest.LogCaptureFixture) -> None:
    (node,) = cluster()
    came = 0
    async with running(node):
        for _ in range(60):
            node.clock.now += 0.05
            with contextlib.suppress(ClientLimitExceededException):
                await node.master()
                came += 1
        with pytest.raises(ClientLimitExceededException, match="master_connects_per_second is 3"):
            await node.hub.check_admission(channel(), Role.MASTER, "")

    assert came == 3 + 8
    assert [record.levelno for record in caplog.records if "compete" in record.message] == [logging.WARNING]
    assert node.hub.stats.admissions["master", "rate"] == 60 - came


@pytest.mark.parametrize(("seconds", "reports"), [(1.5, 1), (30.0, 0)])
async def test_masters_that_replace_each_other_below_the_rate_are_named(
    caplog: pytest.LogCaptureFixture, nodes: tuple[Node, Node], seconds: float, reports: int
) -> None:
    async with running(*dict.fromkeys(nodes)):
        for number in range(13):
            await nodes[number % 2].master()
            nodes[0].clock.now += seconds
            nodes[0].hub.expire()

    found = {record.source for record in caplog.records if "compete" in record.message}  # type: ignore[attr-defined]
    assert len(found) == reports


async def test_a_credential_that_is_revoked_during_the_connect_does_not_come_in() -> None:
    (node,) = cluster()
    node.mailbox.may_take.clear()
    connect, recorder = Connect(channel(), Role.VIEWER, "v1", credential_ids=("key",)), Recorder()
    node.hub.close_credentials(frozenset(("key",)))
    with pytest.raises(UnrecognizedClientException):
        await node.hub.connect(connect, recorder)
    assert node.hub.stats.viewers == 0

    node.clock.now += 61.0
    node.hub.expire()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(node.hub.connect(connect, recorder))
        await asyncio.sleep(0)
        node.hub.close_credentials(frozenset(("key",)))
        assert recorder.closed == (1008, "the credential was revoked")
        node.mailbox.may_take.set()
        await node.hub.disconnect(await task)

    assert await node.hub._presence.count(str(channel().arn)) == 0


async def test_a_connect_that_is_cancelled_while_it_collects_leaves_nothing() -> None:
    (node,) = cluster()
    node.mailbox.may_take.clear()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(node.viewer("v1"))
        await asyncio.sleep(0)
        assert node.hub.stats.viewers == 1
        task.cancel()

    assert await node.hub._presence.count(str(channel().arn)) == 0
    assert node.hub.stats.viewers == 0


async def test_a_ticket_and_a_connect_name_the_same_limit() -> None:
    (node,) = cluster(Limits(viewers_per_channel=1, viewer_connects=Rate(1, 1)))
    async with running(node):
        await node.viewer("v1")
        for ask in (node.viewer("v2"), node.hub.check_admission(channel(), Role.VIEWER, "v2")):
            with pytest.raises(ClientLimitExceededException, match="viewer_connects_per_second"):
                await ask


class DistantPresence(EmbeddedPresence):
    """A presence behind a network: its answers to admissions come only while the gate is open."""

    may_answer: asyncio.Event

    async def admit(
        self, channel: str, role: Role, client_id: str, connection_id: str, viewer_limit: int
    ) -> Admission | None:
        admission = await super().admit(channel, role, client_id, connection_id, viewer_limit)
        await self.may_answer.wait()
        return admission


async def test_a_master_that_is_replaced_before_it_hears_of_its_admission_is_closed(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    near = a.hub._presence
    distant = DistantPresence("a", near._slots)  # type: ignore[attr-defined]
    distant.may_answer = asyncio.Event()
    a.hub._presence = distant
    async with running(*dict.fromkeys(nodes)):
        async with asyncio.TaskGroup() as group:
            first = group.create_task(a.master())
            await asyncio.sleep(0)
            a.hub._presence = near
            _, at_second = await b.master()
            distant.may_answer.set()
        older, at_first = first.result()
        viewer, _ = await b.viewer("v1")
        b.say(viewer, "AAA0")
        await at_second.wait_for(1)
        await a.hub.disconnect(older)
        b.say(viewer, "AAA1")
        await at_second.wait_for(2)

    assert at_first.closed == (1000, "replaced by a newer master")
    assert at_first.frames == []
    assert at_second.closed is None


async def test_a_connection_that_is_admitted_during_the_drain_is_refused_before_it_is_over() -> None:
    (node,) = cluster()
    distant = DistantPresence("a")
    distant.may_answer = asyncio.Event()
    node.hub._presence = node.hub._leases._presence = distant
    async with running(node), asyncio.TaskGroup() as group:
        coming = group.create_task(refused(node))
        await asyncio.sleep(0)
        draining = group.create_task(node.hub.drain(0.0))
        await turns()
        assert not coming.done()
        assert not draining.done()
        distant.may_answer.set()
        await draining
        assert coming.done()

    assert (node.hub.stats.viewers, len(distant)) == (0, 0)


async def refused(node: Node) -> None:
    with pytest.raises(ServiceUnavailableException):
        await node.viewer("v1")


async def test_a_credential_that_is_revoked_while_its_connect_is_decided_upon_is_refused() -> None:
    (node,) = cluster()
    distant = DistantPresence("a")
    distant.may_answer = asyncio.Event()
    node.hub._presence = node.hub._leases._presence = distant
    connect = Connect(channel(), Role.VIEWER, "v1", credential_ids=("key",))

    async def come() -> None:
        with pytest.raises(UnrecognizedClientException):
            await node.hub.connect(connect, Recorder())

    async with running(node), asyncio.TaskGroup() as group:
        coming = group.create_task(come())
        await asyncio.sleep(0)
        node.hub.close_credentials(frozenset(("key",)))
        distant.may_answer.set()
        await coming

    assert (node.hub.stats.viewers, len(distant)) == (0, 0)


@pytest.mark.parametrize("is_here", [True, False])
async def test_who_is_refused_after_its_admission_replaces_nobody(is_here: bool) -> None:
    nodes = cluster(names=("a", "b"))
    coming = nodes[0]
    async with running(*nodes):
        node = coming if is_here else nodes[1]
        master, at_master = await node.master()
        answer, real = asyncio.Event(), coming.hub._presence.admit

        async def admit(*asked: Any) -> Admission | None:
            admission = await real(*asked)
            await answer.wait()
            return admission

        coming.hub._presence.admit = admit  # type: ignore[method-assign]
        connect = Connect(channel(), Role.MASTER, credential_ids=("stolen",))
        task = asyncio.create_task(coming.hub.connect(connect, Recorder()))
        await turns()
        coming.hub.close_credentials(frozenset(("stolen",)))
        answer.set()
        with pytest.raises(UnrecognizedClientException):
            await task
        _, at_viewer = await node.viewer("v1")
        node.say(master, "AAAA", "SDP_ANSWER", recipientClientId="v1")
        await turns()

        assert at_master.closed is None
        assert at_viewer.payloads == ["AAAA"]


class AwayPresence(EmbeddedPresence):
    """A presence that answers only while it is not away."""

    is_away = False

    async def admit(
        self, channel: str, role: Role, client_id: str, connection_id: str, viewer_limit: int
    ) -> Admission | None:
        if self.is_away:
            raise PresenceUnavailableError
        return await super().admit(channel, role, client_id, connection_id, viewer_limit)

    async def count(self, channel: str) -> int:
        if self.is_away:
            raise PresenceUnavailableError
        return await super().count(channel)

    async def leave(self, leases: Sequence[Lease]) -> None:
        if self.is_away:
            raise PresenceUnavailableError
        await super().leave(leases)

    async def renew(self, leases: Sequence[Lease], viewer_limit: int) -> tuple[Lease, ...]:
        if self.is_away:
            raise PresenceUnavailableError
        return await super().renew(leases, viewer_limit)


def without_presence(*, degraded_local: bool) -> tuple[Node, AwayPresence]:
    (node,) = cluster()
    presence = AwayPresence("a")
    node.hub._presence = node.hub._leases._presence = presence
    node.hub.configure_leases(LeaseSettings(degraded_local=degraded_local))
    return node, presence


async def test_while_presence_is_away_newcomers_are_refused_and_those_inside_stay() -> None:
    node, presence = without_presence(degraded_local=False)
    async with running(node):
        viewer, at_viewer = await node.viewer("v1")
        presence.is_away = True
        for _ in range(2):
            with pytest.raises(ServiceUnavailableException, match="a few seconds"):
                await node.master()
        with pytest.raises(ServiceUnavailableException):
            await node.hub.check_admission(channel(), Role.VIEWER, "v2")
        assert node.hub.stats.admissions["master", "unavailable"] == 2
        assert node.hub.stats.presence_unavailable == 1, "the second was refused without asking"
        await node.hub.disconnect(viewer)
        presence.is_away = False
        node.clock.now += 1.0
        node.hub.reassert()
        _, at_master = await node.master()

    assert at_viewer.closed is None
    assert at_master.closed is None


async def test_a_node_may_admit_alone_and_gives_way_to_higher_fences_when_presence_is_back() -> None:
    node, presence = without_presence(degraded_local=True)
    async with running(node):
        presence.is_away = True
        await node.hub.check_admission(channel(), Role.VIEWER, "v0")
        loser, at_loser = await node.master()
        viewers = [(await node.viewer(f"v{number}"))[1] for number in range(10)]
        with pytest.raises(ClientLimitExceededException, match="10 viewers"):
            await node.viewer("v10")
        node.say(loser, "AAAA", recipientClientId="v3")
        assert viewers[3].payloads == ["AAAA"]

        higher = Holder(Role.MASTER, "", "b", "b-1", loser.holder.fence + 1)
        presence._slots.channels[str(channel().arn)] = {"": higher}
        presence.is_away = False
        node.clock.now += 1.0
        node.hub.reassert()
        async with asyncio.timeout(15):
            await at_loser.heard.wait()

    assert at_loser.closed == (1001, "another connection has taken the slot: connect again")
    assert [recorder.closed for recorder in viewers] == [None] * 10
    assert await presence.count(str(channel().arn)) == 10
    assert node.hub.stats.lease_lost == 1


async def test_a_mailbox_that_is_away_refuses_newcomers_or_is_asked_later() -> None:
    strict, _ = without_presence(degraded_local=False)
    lenient, _ = without_presence(degraded_local=True)

    async def away(channel: str, recipient: Address) -> tuple[Mail, ...]:
        raise MailboxUnavailableError

    async with running(strict, lenient):
        viewer, _ = await lenient.viewer("v1")
        lenient.say(viewer, "AAAA")
        await lenient.settle()
        take = lenient.mailbox.take
        strict.mailbox.take = lenient.mailbox.take = away  # type: ignore[method-assign]
        with pytest.raises(ServiceUnavailableException):
            await strict.master()
        assert strict.hub.stats.masters == 0
        _, at_master = await lenient.master()
        lenient.mailbox.take = take  # type: ignore[method-assign]
        lenient.hub.reassert()
        await at_master.wait_for(1)

    assert at_master.payloads == ["AAAA"]
