"""When and how a hub ends connections, and that nothing is left of them."""

import asyncio
import weakref
from typing import Any

import pytest

from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.errors import ServiceError, ServiceUnavailableException
from channels.names import Role
from channels.presence import Admission
from channels.signaling.hub import Hub
from channels.signaling.limits import Limits
from channels.signaling.members import Connect
from channels.signaling.messages import Event
from tests.channels.signaling.rig import Node, Recorder, channel, cluster, running


async def test_a_cut_closes_connections_and_keeps_what_is_held() -> None:
    (node,) = cluster()
    async with running(node):
        viewer, at_viewer = await node.viewer("v1")
        _, at_other = await node.master(to=channel("other"))
        node.say(viewer, "AAAA", "SDP_OFFER")
        await node.settle()
        node.hub.cut(channel().arn, 1011, "as asked")
        assert (at_viewer.closed, at_other.closed) == ((1011, "as asked"), None)
        _, at_master = await node.master()
        assert at_master.payloads == ["AAAA"]


async def test_nothing_holds_on_to_a_connection_that_has_ended() -> None:
    (node,) = cluster()
    async with running(node):
        member, recorder = await node.viewer("v1")
        ended = weakref.ref(recorder)
        await node.hub.disconnect(member)
        del member, recorder
        assert ended() is None


async def test_a_deleted_channel_closes_its_connections_everywhere(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        _, at_master = await a.master()
        viewer, at_viewer = await b.viewer("v1")
        _, at_other = await b.viewer("v1", to=channel("other"))
        a.hub.close_channel(channel().arn)
        await at_viewer.heard.wait()
        b.hub.receive(viewer, "{}")

    assert at_master.closed == at_viewer.closed == (1001, "the channel was deleted")
    assert at_other.closed is None
    assert at_viewer.frames == []


async def test_idle_and_old_connections_are_closed_on_time() -> None:
    (node,) = cluster(Limits(lifetime_jitter_s=0.0))
    async with running(node):
        start = node.clock.now
        _, at_idle = await node.viewer("idle")
        busy, at_busy = await node.viewer("busy")
        for _ in range(12):
            node.clock.now += 299.0
            node.hub.receive(busy, "")
            node.hub.expire()
        assert at_idle.closed == (1001, "idle for 600 s")
        assert at_busy.closed is None
        node.clock.now = start + 3600.0
        node.hub.expire()

    assert at_busy.closed == (1001, "the lifetime of a connection is over")


@pytest.mark.parametrize("idle_s", [None, 600.0])
async def test_what_is_said_before_the_end_of_a_lifetime_is_heard_is_brought_on(idle_s: float | None) -> None:
    (node,) = cluster(Limits(lifetime_jitter_s=0.0, idle_s=idle_s))
    async with running(node):
        viewer, at_viewer = await node.viewer("v1")
        node.clock.now += 120.0
        master, at_master = await node.master()
        node.clock.now += 3480.0
        node.hub.receive(master, "")
        node.hub.expire()
        assert at_viewer.closed is not None
        assert at_viewer.closed[0] == 1001
        node.say(viewer, "AAAA")

    assert at_master.payloads == ["AAAA"]


async def test_what_is_said_with_a_credential_that_has_expired_is_void() -> None:
    (node,) = cluster()
    async with running(node):
        expires_at = node.clock.now + 60.0
        connect = Connect(channel(), Role.VIEWER, "v1", expires_at=expires_at)
        viewer = await node.hub.connect(connect, Recorder())
        _, at_master = await node.master()
        node.clock.now = expires_at
        node.hub.expire()
        node.say(viewer, "AAAA")

    assert at_master.frames == []


async def test_a_fleet_that_came_together_is_closed_over_a_minute_and_never_late() -> None:
    (node,) = cluster(Limits(idle_s=None, viewers_per_channel=50, viewer_connects=None))
    async with running(node):
        start = node.clock.now
        fleet = [(await node.viewer(f"v{number}"))[1] for number in range(50)]
        open_at = []
        for after_s in (3539.0, 3570.0, 3600.0):
            node.clock.now = start + after_s
            node.hub.expire()
            open_at.append(sum(recorder.closed is None for recorder in fleet))

    assert open_at[0] == 50
    assert 5 < open_at[1] < 45
    assert open_at[2] == 0


async def test_go_away_is_sent_only_where_it_is_switched_on() -> None:
    (quiet,), (loud,) = cluster(), cluster(Limits(lifetime_jitter_s=0.0, idle_s=None).with_control_messages())
    async with running(quiet, loud):
        for node in (quiet, loud):
            _, recorder = await node.master()
            assert node.hub.announce(None, Event.RECONNECT_ICE_SERVER) == (1 if node is loud else 0)
            assert node.hub.announce(channel("other").arn, Event.GO_AWAY) == 0
            node.clock.now += 3540.0
            node.hub.clock_moved(3540.0)
            if node is loud:
                assert recorder.frames == [
                    {"messagePayload": "", "messageType": "RECONNECT_ICE_SERVER"},
                    {"messagePayload": "", "messageType": "GO_AWAY"},
                ]
                assert recorder.closed is None
                node.clock.now += 60.0
                node.hub.expire()
                assert recorder.closed == (1001, "the lifetime of a connection is over")
                _, recorder = await node.master()
            await node.hub.drain(0.0)
            assert recorder.frames == ([{"messagePayload": "", "messageType": "GO_AWAY"}] if node is loud else [])
            assert recorder.closed is not None


async def test_a_moved_clock_ends_what_is_due_but_no_credential_early() -> None:
    (node,) = cluster()
    async with running(node):
        start = node.clock.now
        _, at_idle = await node.viewer("idle")
        at_guest = Recorder()
        busy = await node.hub.connect(Connect(channel(), Role.VIEWER, "guest", start + 900.0), at_guest)
        node.say(busy, "AAAA", "SDP_OFFER", correlationId="c")
        await node.settle()
        node.clock.now += 599.0
        node.hub.clock_moved(599.0)
        await node.settle()
        assert [status["correlationId"] for status in at_guest.statuses] == ["c"], "the message was held for 60 s"
        node.clock.now += 500.0
        node.hub.receive(busy, "")
        node.hub.clock_moved(500.0)
        assert at_idle.closed == (1001, "idle for 600 s")
        assert at_guest.closed is None, "its credential has 900 s of real time"
        node.clock.now += 900.0  # that much time has really passed
        node.hub.receive(busy, "")
        node.hub.expire()

    assert at_guest.closed == (1001, "the credential has expired")


class Slow(EmbeddedPresence):
    """Admits, and says so only when it may."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.may_answer = asyncio.Event()

    async def admit(self, *arguments: Any) -> Admission | None:
        admission = await super().admit(*arguments)
        await self.may_answer.wait()
        return admission


async def test_who_comes_in_while_its_channel_is_deleted_is_refused() -> None:
    presence = Slow("a")
    hub = Hub(EmbeddedBus(), presence, Limits.aws(), "a", lambda: 0.0)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        coming = group.create_task(refused(hub))
        while not await presence.count(str(channel().arn)):  # noqa: ASYNC110  # a turn of the loop
            await asyncio.sleep(0)
        hub.end_channel(channel().arn)
        presence.may_answer.set()
        assert await coming == "ResourceNotFoundException"
        assert await refused(hub) == "ResourceNotFoundException"
        running.cancel()
    assert hub.channels == frozenset()
    assert await presence.count(str(channel().arn)) == 0


async def refused(hub: Hub) -> str:
    try:
        await hub.connect(Connect(channel(), Role.VIEWER, "v1"), Recorder())
    except ServiceError as error:
        return error.code
    return ""


async def test_a_revoked_credential_closes_those_who_hang_on_it_and_nobody_else() -> None:
    (node,) = cluster()
    async with running(node):
        at = {name: Recorder() for name in ("v1", "v2", "v3")}
        for name, ids in (("v1", ("key",)), ("v2", ("key", "session")), ("v3", ("other",))):
            await node.hub.connect(Connect(channel(), Role.VIEWER, name, credential_ids=ids), at[name])
        node.hub.close_credentials(frozenset(("session",)))
        assert at["v2"].closed == (1008, "the credential was revoked")
        assert at["v1"].closed is None
        node.hub.close_credentials(frozenset(("key", "unknown")), 1001, "over")

    assert at["v1"].closed == (1001, "over")
    assert at["v3"].closed is None


async def test_a_drain_refuses_newcomers_frees_slots_and_closes_everybody(nodes: tuple[Node, Node]) -> None:
    b = nodes[1]
    async with running(*dict.fromkeys(nodes)):
        _, at_master = await b.master()
        seen = [(await b.viewer(f"v{number}"))[1] for number in range(5)]
        await b.hub.drain(0.01)

        assert {recorder.closed for recorder in (at_master, *seen)} == {(1001, "this node is going away")}
        assert b.hub.is_draining
        with pytest.raises(ServiceUnavailableException):
            await b.viewer("v1")
        with pytest.raises(ServiceUnavailableException):
            await b.hub.check_admission(channel(), Role.VIEWER, "v1")
        assert await b.hub._presence.count(str(channel().arn)) == 0


async def test_an_empty_node_drains_at_once() -> None:
    (node,) = cluster()
    await node.hub.drain(60.0)


async def test_nothing_is_left_after_everybody_has_gone(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        for number in range(3):
            master, _ = await a.master(to=channel(f"c{number}"))
            viewer, _ = await b.viewer("v1", to=channel(f"c{number}"))
            b.say(viewer, "AAAA", "SDP_OFFER")
            a.say(master, "AAAA", "SDP_ANSWER", recipientClientId="v1")
            a.say(master, "AAAA", "SDP_ANSWER", recipientClientId="never", correlationId="c")
            await a.settle()
            await a.hub.disconnect(master)
            b.say(viewer, "AAAA", "SDP_OFFER", correlationId="c")
            await b.settle()
            await b.hub.disconnect(viewer)
            await b.hub.disconnect(viewer)
        a.clock.now += 70.0
        for node in nodes:
            node.hub.expire()
            await node.settle()
        a.mailbox.held.expire(a.clock.now)

    assert [node.hub.leftovers for node in nodes] == [0, 0]
    assert (a.hub.stats.masters, b.hub.stats.viewers) == (0, 0)
    assert len(a.hub._presence) == 0  # type: ignore[arg-type]
    assert a.mailbox.held.is_empty


async def test_the_timer_closes_an_idle_connection_by_itself() -> None:
    (node,) = cluster(Limits(idle_s=0.01), now=asyncio.get_running_loop().time)
    async with running(node):
        _, recorder = await node.viewer("v1")
        async with asyncio.timeout(15):
            await recorder.heard.wait()

    assert recorder.closed == (1001, "idle for 0.01 s")
