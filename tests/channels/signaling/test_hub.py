import asyncio
import contextlib
import logging

import msgspec
import pytest

from channels.embedded.presence import EmbeddedPresence
from channels.errors import ClientLimitExceededException, ServiceUnavailableException, UnrecognizedClientException
from channels.names import Role
from channels.presence import Admission
from channels.signaling import envelope
from channels.signaling.limits import Limits, Rate
from channels.signaling.members import Connect
from channels.signaling.messages import Event
from channels.signaling.protocol import TOO_SLOW
from tests.channels.signaling.rig import Node, Recorder, channel, cluster, running


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request: pytest.FixtureRequest) -> tuple[Node, Node]:
    """Where the master is and where the viewers are: one node twice, or two nodes of one cluster."""
    made = cluster(names=("a",) if request.param == "one node" else ("a", "b"))
    return made[0], made[-1]


async def test_a_viewer_and_the_master_talk(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        master, at_master = await a.master()
        viewer, at_viewer = await b.viewer("v1")
        b.say(viewer, "AAAA", "SDP_OFFER", recipientClientId="someone", senderClientId="forged")
        b.say(viewer, "AAAB")
        await at_master.wait_for(2)
        a.say(master, "AAAC", "SDP_ANSWER", recipientClientId="v1")
        await at_viewer.wait_for(1)

    assert at_master.frames == [
        {"messagePayload": "AAAA", "messageType": "SDP_OFFER", "senderClientId": "v1"},
        {"messagePayload": "AAAB", "messageType": "ICE_CANDIDATE", "senderClientId": "v1"},
    ]
    assert at_viewer.frames == [{"messagePayload": "AAAC", "messageType": "SDP_ANSWER"}]


async def test_viewers_never_reach_each_other(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        _, at_master = await a.master()
        first, _ = await b.viewer("v1")
        _, at_second = await b.viewer("v2")
        b.say(first, "AAAA", recipientClientId="v2")
        await at_master.wait_for(1)

    assert at_second.frames == []


async def test_two_hundred_messages_arrive_once_and_in_order(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        _, at_master = await a.master()
        viewer, _ = await b.viewer("v1")
        for number in range(200):
            b.clock.now += 0.05
            b.say(viewer, f"{number:04}")
        await at_master.wait_for(200)

    assert at_master.payloads == [f"{number:04}" for number in range(200)]


async def test_an_offer_waits_for_the_master_and_comes_once_in_order(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, at_viewer = await b.viewer("v1")
        b.say(viewer, "AAA0", "SDP_OFFER", correlationId="c0")
        b.say(viewer, "AAA1", "SDP_OFFER", correlationId="c1")
        b.say(viewer, "AAA2")
        b.say(viewer, "AAA3")
        await b.settle()
        b.clock.now += 10
        master, at_master = await a.master()
        b.say(viewer, "AAA4")
        await at_master.wait_for(4)
        assert at_master.payloads == ["AAA1", "AAA2", "AAA3", "AAA4"]

        _, at_second = await a.master()
        a.clock.now += 100
        a.hub.expire()
        b.hub.expire()
        await b.settle()
        assert at_second.frames == at_viewer.frames == []
        assert master is not None


async def test_a_message_overtakes_none_that_is_still_on_its_way_to_the_mailbox(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, _ = await b.viewer("v1")
        b.say(viewer, "AAA0", "SDP_OFFER")
        _, at_master = await a.master()  # no turn of the loop in between: the offer is still in its lane
        b.say(viewer, "AAA1")
        await at_master.wait_for(2)

    assert at_master.payloads == ["AAA0", "AAA1"]


async def test_what_is_relayed_while_held_mail_is_fetched_comes_after_it(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, _ = await b.viewer("v1")
        b.say(viewer, "AAA0")
        await b.settle()
        at_master = Recorder()
        a.mailbox.may_take.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(a.hub.connect(Connect(channel(), Role.MASTER), at_master))
            await asyncio.sleep(0)
            b.say(viewer, "AAA1")
            await b.settle()
            assert at_master.frames == []
            a.mailbox.may_take.set()

    assert at_master.payloads == ["AAA0", "AAA1"]


async def test_a_newcomer_for_whom_too_much_waits_is_closed() -> None:
    (node,) = cluster(Limits(queued_bytes_per_connection=100))
    async with running(node):
        viewer, at_viewer = await node.viewer("v1")
        at_master = Recorder()
        node.mailbox.may_take.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(node.hub.connect(Connect(channel(), Role.MASTER), at_master))
            await asyncio.sleep(0)
            node.say(viewer, "AAA0")
            node.say(viewer, "AAA1", correlationId="c1")
            node.mailbox.may_take.set()

    assert at_master.closed == (TOO_SLOW, "too slow")
    assert [status["correlationId"] for status in at_viewer.statuses] == ["c1"]


async def test_mail_that_reaches_the_mailbox_after_its_recipient_looked_is_fetched(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, _ = await b.viewer("v1")
        b.mailbox.may_hold.clear()
        b.say(viewer, "AAA0")
        for _ in range(5):
            await asyncio.sleep(0)
        _, at_master = await a.master()
        b.say(viewer, "AAA1")
        assert at_master.frames == []
        b.mailbox.may_hold.set()
        await at_master.wait_for(2)

    assert at_master.payloads == ["AAA0", "AAA1"]


async def test_held_mail_that_a_newcomer_does_not_take_is_reported(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, at_viewer = await b.viewer("v1")
        for number in range(3):
            b.say(viewer, f"AAA{number}", correlationId=f"c{number}")
        await b.settle()
        _, at_master = await a.master(room=100)
        await at_viewer.wait_for(2)

    assert at_master.payloads == ["AAA0"]
    assert [status["correlationId"] for status in at_viewer.statuses] == ["c1", "c2"]


async def test_nothing_comes_after_its_time_and_the_sender_is_told(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    short = channel(ttl_s=5)
    async with running(*dict.fromkeys(nodes)):
        viewer, at_viewer = await b.viewer("v1", to=short)
        b.say(viewer, "AAA0", "SDP_OFFER", correlationId="c0")
        b.say(viewer, "AAA1")
        await b.settle()
        b.clock.now += 5.0
        _, at_master = await a.master(to=short)
        b.hub.expire()
        await at_viewer.wait_for(1)

    assert at_master.frames == []
    assert [(s["correlationId"], s["statusCode"], s["errorType"]) for s in at_viewer.statuses] == [
        ("c0", "503", "ServiceUnavailableException")
    ]
    assert b.hub.stats.messages["viewer", "ICE_CANDIDATE", "expired"] == 1


async def test_the_time_to_live_is_that_at_the_time_of_sending(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, _ = await b.viewer("v1")
        b.say(viewer, "AAA0")
        b.hub.update_channel(channel(ttl_s=5))
        b.say(viewer, "AAA1")
        await b.settle()
        b.clock.now += 6.0
        _, at_master = await a.master()

    assert at_master.payloads == ["AAA0"]


async def test_a_message_to_a_viewer_that_never_came_is_not_found(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        master, at_master = await a.master()
        a.say(master, "AAAA", "SDP_ANSWER", recipientClientId="v9")
        a.say(master, "AAAB", "SDP_ANSWER", recipientClientId="v9", correlationId="c")
        await at_master.wait_for(1)
        await a.settle()

    assert at_master.frames == [
        {
            "messagePayload": "",
            "messageType": "STATUS_RESPONSE",
            "statusResponse": {
                "correlationId": "c",
                "errorType": "ResourceNotFoundException",
                "statusCode": "404",
                "description": "no viewer v9 is connected",
            },
        }
    ]
    assert b.hub.stats.viewers == 0


async def test_a_message_to_a_viewer_that_just_left_waits_for_its_return(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        master, at_master = await a.master()
        viewer, _ = await b.viewer("v1")
        await b.hub.disconnect(viewer)
        a.say(master, "AAAA", "SDP_ANSWER", recipientClientId="v1", correlationId="c")
        await a.settle()
        a.clock.now += 59.0
        _, again = await b.viewer("v1")
        assert again.payloads == ["AAAA"]
        assert at_master.frames == []


async def test_what_does_not_fit_is_refused_by_name() -> None:
    (node,) = cluster(Limits(held_messages_per_pair=2))
    async with running(node):
        viewer, at_viewer = await node.viewer("v1")
        for number in range(3):
            node.say(viewer, f"AAA{number}", correlationId=f"c{number}")
        await at_viewer.wait_for(1)
        _, at_master = await node.master()

    assert [status["correlationId"] for status in at_viewer.statuses] == ["c2"]
    assert "held_messages_per_pair is 2" in at_viewer.statuses[0]["description"]
    assert at_master.payloads == ["AAA0", "AAA1"]


async def test_the_newest_master_closes_the_one_before(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        first, at_first = await a.master()
        _, at_second = await b.master()
        viewer, _ = await b.viewer("v1")
        await a.hub.disconnect(first)
        b.say(viewer, "AAAA")
        await at_second.wait_for(1)

    assert at_first.closed == (1000, "replaced by a newer master")
    assert at_first.frames == []
    assert at_second.closed is None


async def test_the_newest_connection_of_a_viewer_id_closes_the_one_before(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        first, at_first = await a.viewer("v1")
        _, at_second = await b.viewer("v1")
        master, _ = await a.master()
        await a.hub.disconnect(first)
        a.say(master, "AAAA", recipientClientId="v1")
        await at_second.wait_for(1)

    assert at_first.closed == (1000, "replaced by a newer connection of this client id")
    assert at_first.frames == []


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


async def test_a_slow_peer_is_closed_and_delays_nobody(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        master, at_master = await a.master()
        _, at_slow = await b.viewer("slow", room=100)
        _, at_quick = await b.viewer("quick")
        for number in range(3):
            a.say(master, f"AAA{number}", recipientClientId="slow", correlationId=f"c{number}")
            a.say(master, f"AAA{number}", recipientClientId="quick")
        await at_quick.wait_for(3)
        await at_master.wait_for(1)

    assert at_slow.payloads == ["AAA0"]
    assert at_slow.closed == (TOO_SLOW, "too slow")
    assert at_quick.payloads == ["AAA0", "AAA1", "AAA2"]
    assert at_master.statuses[0]["correlationId"] == "c1"
    assert at_master.statuses[0]["statusCode"] == "503"
    assert b.hub.stats.slow_closed == 1


async def test_a_sender_that_does_not_read_its_statuses_is_closed() -> None:
    (node,) = cluster()
    async with running(node):
        viewer, recorder = await node.viewer("v1", room=200)
        for _ in range(5):
            node.hub.receive(viewer, "{}")

    assert recorder.closed == (TOO_SLOW, "too slow")


async def test_malformed_frames_are_answered_and_the_connection_stays() -> None:
    (node,) = cluster()
    async with running(node):
        viewer, recorder = await node.viewer("v1")
        _, at_master = await node.master()
        for frame in ("no JSON", "[]", '{"action":"X","messagePayload":""}', "", "\x00"):
            node.hub.receive(viewer, frame)
        node.say(viewer, "AAAA")

    assert [status["statusCode"] for status in recorder.statuses] == ["400"] * 4
    assert recorder.closed is None
    assert at_master.payloads == ["AAAA"]


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


async def test_messages_before_the_hub_runs_go_out_when_it_does() -> None:
    (node,) = cluster()
    viewer, _ = await node.viewer("v1")
    node.say(viewer, "AAAA")
    _, at_master = await node.master()
    async with running(node):
        await at_master.wait_for(1)


async def test_the_timer_closes_an_idle_connection_by_itself() -> None:
    (node,) = cluster(Limits(idle_s=0.01), now=asyncio.get_running_loop().time)
    async with running(node):
        _, recorder = await node.viewer("v1")
        async with asyncio.timeout(5):
            await recorder.heard.wait()

    assert recorder.closed == (1001, "idle for 0.01 s")


async def test_a_message_for_a_holder_that_was_replaced_on_the_way_finds_the_new_one() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a, b):
        _, at_old = await b.viewer("v1")
        master, _ = await a.master()
        held_back: list[bytes] = []
        await b.bus.subscribe(envelope.inbox("b"), held_back.append)
        a.say(master, "AAAA", recipientClientId="v1")
        await a.settle()
        _, at_new = await b.viewer("v1")
        for payload in held_back:
            b.hub._exchange.receive(payload)
        await at_new.wait_for(1)

    assert at_old.frames == []
    assert at_new.payloads == ["AAAA"]


async def test_a_node_that_is_gone_costs_the_sender_no_message() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a):
        master, at_master = await a.master()
        async with running(b):
            await b.viewer("v1")
        a.say(master, "AAAA", recipientClientId="v1", correlationId="c")
        await a.settle()
        assert a.hub.stats.publish_unreachable >= 4
        _, again = await a.viewer("v1")
        await again.wait_for(1)

    assert again.payloads == ["AAAA"]
    assert at_master.frames == []


async def test_noise_on_the_inbox_is_counted_and_ignored() -> None:
    (node,) = cluster()
    async with running(node):
        await node.bus.publish(envelope.inbox("a"), b"noise")
        await node.bus.publish(envelope.inbox("a"), msgspec.msgpack.encode({"type": "answer"}))
        await node.bus.publish(envelope.inbox("a"), envelope.encode(envelope.Answer("unknown", b"{}")))
        await node.bus.publish(envelope.inbox("a"), envelope.encode(envelope.Evict("unknown", 1)))

    assert node.hub.stats.envelopes_refused == 2


async def test_offers_that_replace_each_other_leave_one_thing_to_remember() -> None:
    (node,) = cluster(Limits.relaxed())
    async with running(node):
        viewer, at_viewer = await node.viewer("v1")
        node.say(viewer, "AAAA", "SDP_OFFER", correlationId="first")
        await node.settle()
        before = node.hub.leftovers
        for number in range(100):
            node.clock.now += 0.01
            node.say(viewer, "AAAA", "SDP_OFFER", correlationId=f"c{number}")
            await node.settle()
        assert node.hub.leftovers == before
        node.clock.now += 60.0
        node.hub.expire()
        await node.settle()

    assert [status["correlationId"] for status in at_viewer.statuses] == ["c99"]


async def test_mail_fetched_for_a_master_that_was_replaced_meanwhile_goes_to_the_newer_one(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, at_viewer = await b.viewer("v1")
        b.say(viewer, "AAA0", "SDP_OFFER", correlationId="c0")
        b.say(viewer, "AAA1")
        await b.settle()
        may_deliver = a.mailbox.may_deliver
        may_deliver.clear()
        async with asyncio.TaskGroup() as group:
            older = group.create_task(a.master())
            await asyncio.sleep(0)
            newer = group.create_task(b.master())
            await asyncio.sleep(0)
            may_deliver.set()
        at_older, at_newer = older.result()[1], newer.result()[1]
        await at_newer.wait_for(2)

    assert at_older.frames == at_viewer.frames == []
    assert at_newer.payloads == ["AAA0", "AAA1"]


async def test_a_ticket_and_a_connect_name_the_same_limit() -> None:
    (node,) = cluster(Limits(viewers_per_channel=1, viewer_connects=Rate(1, 1)))
    async with running(node):
        await node.viewer("v1")
        for ask in (node.viewer("v2"), node.hub.check_admission(channel(), Role.VIEWER, "v2")):
            with pytest.raises(ClientLimitExceededException, match="viewer_connects_per_second"):
                await ask


async def test_a_node_that_is_gone_delays_only_what_goes_there() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a):
        master, _ = await a.master()
        _, at_near = await a.viewer("near")
        async with running(b):
            await b.viewer("far")
        a.say(master, "AAA0", recipientClientId="far")
        await asyncio.sleep(0)
        a.say(master, "AAA1", recipientClientId="near")
        assert at_near.payloads == ["AAA1"]


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


async def test_a_connection_that_is_admitted_during_the_drain_is_refused() -> None:
    (node,) = cluster()
    distant = DistantPresence("a")
    distant.may_answer = asyncio.Event()
    node.hub._presence = distant
    async with running(node), asyncio.TaskGroup() as group:
        coming = group.create_task(refused(node))
        await asyncio.sleep(0)
        await node.hub.drain(0.0)
        distant.may_answer.set()
        await coming

    assert (node.hub.stats.viewers, len(distant)) == (0, 0)


async def refused(node: Node) -> None:
    with pytest.raises(ServiceUnavailableException):
        await node.viewer("v1")


async def test_a_credential_that_is_revoked_while_its_connect_is_decided_upon_is_refused() -> None:
    (node,) = cluster()
    distant = DistantPresence("a")
    distant.may_answer = asyncio.Event()
    node.hub._presence = distant
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
