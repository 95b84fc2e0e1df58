"""A hub, alone and in a cluster: who hears whom, and which connection of several counts."""

import asyncio

from channels.signaling import envelope
from channels.signaling.exchange import PATIENCE_S
from channels.signaling.link_frame import Frame, encode
from channels.signaling.protocol import TOO_SLOW
from tests.channels.signaling.rig import Node, cluster, running, turns


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


async def test_the_newest_master_closes_the_one_before(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        first, at_first = await a.master()
        _, at_second = await b.master()
        viewer, _ = await b.viewer("v1")
        await at_first.heard.wait()
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
        await at_first.heard.wait()
        await a.hub.disconnect(first)
        a.say(master, "AAAA", recipientClientId="v1")
        await at_second.wait_for(1)

    assert at_first.closed == (1000, "replaced by a newer connection of this client id")
    assert at_first.frames == []


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


async def test_messages_before_the_hub_runs_go_out_when_it_does() -> None:
    (node,) = cluster()
    viewer, _ = await node.viewer("v1")
    node.say(viewer, "AAAA")
    _, at_master = await node.master()
    async with running(node):
        await at_master.wait_for(1)


async def test_a_message_for_a_holder_that_was_replaced_on_the_way_finds_the_new_one() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a, b):
        _, at_old = await b.viewer("v1")
        master, _ = await a.master()
        held_back: list[bytes] = []
        await b.bus.subscribe(envelope.inbox("b"), held_back.append)
        a.say(master, "AAAA", recipientClientId="v1")
        await turns()
        _, at_new = await b.viewer("v1")
        await b.bus.subscribe(envelope.inbox("b"), b.hub._exchange.receive)
        for payload in held_back:
            b.hub._exchange.receive(payload)
        await at_new.wait_for(1)

    assert at_old.frames == []
    assert at_new.payloads == ["AAAA"]


async def test_a_message_to_a_node_that_is_gone_is_held_in_time() -> None:
    a, b = cluster(names=("a", "b"))
    async with running(a):
        master, at_master = await a.master()
        async with running(b):
            await b.viewer("v1")
        a.say(master, "AAAA", recipientClientId="v1", correlationId="c")
        await turns()
        a.clock.now += PATIENCE_S
        a.hub.expire()
        await turns()
        assert a.hub.stats.publish_unreachable >= 1
        assert a.hub.stats.messages["master", "ICE_CANDIDATE", "held"] == 1
        _, again = await a.viewer("v1")
        await again.wait_for(1)

    assert again.payloads == ["AAAA"]
    assert at_master.frames == []


async def test_noise_on_the_inbox_is_counted_and_ignored() -> None:
    (node,) = cluster()
    async with running(node):
        await node.bus.publish(envelope.inbox("a"), b"noise")
        await node.bus.publish(envelope.EVERY_NODE, b"noise")
        for body in (b"noise", envelope.encode(envelope.Deliver("unknown", b"{}"))):
            await node.bus.publish(envelope.inbox("a"), encode(Frame("b", 1, 1, messages=((1, body),))))

    assert node.hub.stats.envelopes_refused == 3


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
