"""What a hub keeps for who is not there yet: order, bounds, time to live, who is told."""

import asyncio

import pytest

from channels.names import Role
from channels.presence import Lease
from channels.signaling.limits import Limits
from channels.signaling.mailbox import Mail, MailboxUnavailableError
from channels.signaling.members import Connect, Member
from channels.signaling.protocol import MASTER, TOO_SLOW, Address
from tests.channels.signaling.rig import Node, Recorder, channel, cluster, running, turns


async def forgetful(node: Node, member: Member) -> tuple[Member, Recorder]:
    """A viewer who says something to `member` after presence has forgotten that."""
    viewer, at_viewer = await node.viewer("v1")
    await node.hub._presence.leave([Lease(member.channel, member.holder)])
    node.say(viewer, "AAA0")
    return viewer, at_viewer


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
            await turns()
            assert at_master.frames == []
            a.mailbox.may_take.set()
        await at_master.wait_for(2)

    assert at_master.payloads == ["AAA0", "AAA1"]


async def test_mail_held_for_who_was_forgotten_comes_when_its_lease_is_put_back(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        master, at_master = await a.master()
        viewer, at_viewer = await forgetful(b, master)
        await b.settle()
        if a is b:
            assert at_master.payloads == ["AAA0"], "one node needs no presence to bring it"
        else:
            assert at_master.frames == []
        a.hub.reassert()
        await at_master.wait_for(1)
        b.say(viewer, "AAA1")
        await at_master.wait_for(2)

    assert at_master.payloads == ["AAA0", "AAA1"]
    assert (at_master.closed, at_viewer.frames) == (None, [])


async def test_what_a_mailbox_did_not_give_out_is_fetched_when_the_lease_is_renewed_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(channel: str, recipient: Address) -> tuple[Mail, ...]:
        raise MailboxUnavailableError

    a, b = cluster(names=("a", "b"))
    async with running(a, b):
        master, at_master = await a.master()
        await forgetful(b, master)
        await b.settle()
        with monkeypatch.context() as lost:
            lost.setattr(a.mailbox, "take", away)
            a.hub._relay.look_again(master.id)
            await a.settle()
        assert (at_master.frames, a.hub.stats.mailbox_unavailable) == ([], 1)
        a.clock.now += 5.0
        await a.hub._leases.renew_due()
        await at_master.wait_for(1)

    assert at_master.payloads == ["AAA0"]


async def test_nothing_overtakes_what_is_held_for_who_is_known_again_and_has_not_looked(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        master, at_master = await a.master()
        viewer, _ = await forgetful(b, master)
        await b.settle()
        await a.hub._presence.renew([Lease(master.channel, master.holder)], 10)
        b.say(viewer, "AAA1")
        b.say(viewer, "AAA2")
        await at_master.wait_for(3)

    assert at_master.payloads == ["AAA0", "AAA1", "AAA2"]


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
        await turns()
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


async def test_what_a_viewer_left_behind_while_it_came_in_keeps_its_order() -> None:
    (node,) = cluster()
    async with running(node):
        master, _ = await node.master()
        await node.hub.disconnect((await node.viewer("v1"))[0])
        node.say(master, "AAA1", recipientClientId="v1")
        await node.settle()
        node.mailbox.may_deliver.clear()
        coming = asyncio.ensure_future(node.viewer("v1"))
        await turns()
        (viewer,) = (member for member in node.hub._members if member is not master)
        node.say(master, "AAA2", recipientClientId="v1")
        node.hub.forget(viewer)
        node.say(master, "AAA3", recipientClientId="v1")
        await turns()
        node.mailbox.may_deliver.set()
        await node.hub.disconnect((await coming)[0])
        await node.settle()
        _, again = await node.viewer("v1")

    assert again.payloads == ["AAA1", "AAA2", "AAA3"]


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


async def test_mail_that_its_taker_could_not_deliver_is_held_for_the_rest_of_its_time(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)):
        viewer, at_viewer = await b.viewer("v1")
        b.say(viewer, "AAA0", "SDP_OFFER", correlationId="c0")
        await b.settle()
        b.clock.now += 40.0
        a.mailbox.may_deliver.clear()
        coming = asyncio.ensure_future(a.master())
        await turns()
        (master,) = (member for member in a.hub._members if member.address is MASTER)
        a.hub.forget(master)  # it is gone before it got what was held for it
        a.mailbox.may_deliver.set()
        await a.hub.disconnect((await coming)[0])
        await a.settle()
        b.clock.now += 19.9
        for node in (a, b):
            node.hub.expire()
        await turns()
        assert at_viewer.frames == []
        b.clock.now += 0.1
        for node in (a, b):
            node.hub.expire()
        await at_viewer.wait_for(1)
        _, at_master = await a.master()

    assert at_master.frames == []
    assert [(s["correlationId"], s["statusCode"]) for s in at_viewer.statuses] == [("c0", "503")]
    assert "within the 60 s" in at_viewer.statuses[0]["description"]
