"""The relay of one node by itself; with admission and other nodes it is seen in the tests of the hub."""

import asyncio

import msgspec
import pytest

from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.names import Role
from channels.presence import Holder
from channels.signaling.limits import Limits
from channels.signaling.mailbox import Mail, MailboxUnavailableError
from channels.signaling.members import Connect, Member
from channels.signaling.messages import Action, ClientMessage
from channels.signaling.node_link import Outcome
from channels.signaling.protocol import MASTER, Address, Forward
from channels.signaling.relay import Relay
from tests.channels.signaling.rig import Clock, DistantMailbox, Recorder, channel

ARN = str(channel().arn)
VIEWER = Address(Role.VIEWER, "v1")


@pytest.fixture
def relay() -> Relay:
    limits, clock = Limits.aws(), Clock()
    return Relay(EmbeddedBus(), EmbeddedPresence("a"), DistantMailbox(limits, clock), limits, "a", clock)


def join(relay: Relay, address: Address, room: int = 1 << 20) -> tuple[Member, Recorder]:
    recorder = Recorder(room)
    connect = Connect(channel(), address.role, address.client_id)
    holder = Holder(address.role, address.client_id, "a", relay.next_id(), len(relay.members) + 1)
    member = Member(connect, recorder, holder, connect.rules(Limits.aws(), 1000.0))
    relay.add(member)
    return member, recorder


def say(relay: Relay, member: Member, recipient: Address, correlation_id: str = "") -> None:
    relay.forward(member, Forward(recipient, ClientMessage(Action.SDP_OFFER, "AAAA", "", correlation_id)), 1000.0)


def test_a_message_goes_straight_to_a_recipient_on_this_node(relay: Relay) -> None:
    viewer, at_viewer = join(relay, VIEWER)
    master, at_master = join(relay, MASTER)
    say(relay, viewer, MASTER)
    say(relay, master, VIEWER)

    assert at_master.frames == [{"messagePayload": "AAAA", "messageType": "SDP_OFFER", "senderClientId": "v1"}]
    assert at_viewer.frames == [{"messagePayload": "AAAA", "messageType": "SDP_OFFER"}]
    assert (relay.stats.masters, relay.stats.viewers) == (1, 1)


def test_a_message_for_somebody_elsewhere_goes_to_the_exchange(relay: Relay) -> None:
    viewer, _ = join(relay, VIEWER)
    say(relay, viewer, MASTER)

    assert relay.exchange.is_busy(ARN, MASTER)


def test_a_recipient_that_does_not_read_is_closed_and_its_sender_told(relay: Relay) -> None:
    viewer, at_viewer = join(relay, VIEWER)
    _, at_master = join(relay, MASTER, room=3)
    say(relay, viewer, MASTER, "c")

    assert at_master.closed == (1008, "too slow")
    assert [status["statusCode"] for status in at_viewer.statuses] == ["503"]
    assert relay.stats.slow_closed == 1


def test_a_closed_connection_gets_nothing_and_leaves_nothing(relay: Relay) -> None:
    viewer, at_viewer = join(relay, VIEWER)
    relay.close(viewer, 1001, "over")
    relay.forget(viewer)
    relay.hand(viewer.id, msgspec.json.encode({"messageType": "SDP_ANSWER"}))

    assert at_viewer.closed == (1001, "over")
    assert at_viewer.frames == []
    assert len(relay.members) == len(relay.timetable) == relay.stats.viewers == 0


def test_a_connection_that_is_replaced_before_it_came_in_is_known_to_be(relay: Relay) -> None:
    expected = relay.expect()
    said: list[Outcome] = []
    assert relay.accept(expected, b"{}") is None
    relay.park(expected, b"{}", said.append)
    relay.close_replaced(expected)

    assert said == [Outcome.ABSENT]
    assert not relay.dismiss(expected)
    assert relay.accept(expected, b"{}") is Outcome.ABSENT
    relay.park(expected, b"{}", said.append)
    assert said == [Outcome.ABSENT] * 2


async def test_what_is_relayed_meanwhile_comes_after_what_was_held(relay: Relay) -> None:
    master, at_master = join(relay, MASTER)
    viewer, _ = join(relay, VIEWER)
    mailbox = relay._mailbox
    assert isinstance(mailbox, DistantMailbox)
    mailbox.may_take.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.collect_for(master))
        await asyncio.sleep(0)
        say(relay, viewer, MASTER)
        assert at_master.frames == []
        mailbox.may_take.set()

    assert at_master.payloads == ["AAAA"]


async def test_what_waits_for_a_newcomer_that_goes_again_is_for_whoever_comes_next(relay: Relay) -> None:
    master, at_master = join(relay, MASTER)
    viewer, _ = join(relay, VIEWER)
    master.waits += 1
    say(relay, viewer, MASTER)
    assert not relay.exchange.is_busy(ARN, MASTER)
    relay.close(master, 1001, "over")

    assert relay.exchange.is_busy(ARN, MASTER)
    assert at_master.frames == []


async def test_a_mailbox_that_is_away_delays_nothing_that_is_relayed(relay: Relay) -> None:
    async def away(channel: str, recipient: Address) -> tuple[Mail, ...]:
        raise MailboxUnavailableError

    relay._mailbox.take = away  # type: ignore[method-assign]  # it loses its server
    master, at_master = join(relay, MASTER)
    viewer, _ = join(relay, VIEWER)
    relay.look_again(master.id)
    say(relay, viewer, MASTER)
    assert at_master.frames == [], "it waits for what the mailbox may have"
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        relay.exchange.start(group)
    await relay.exchange.stop()

    assert at_master.payloads == ["AAAA"]
    assert relay.stats.mailbox_unavailable == 1


async def test_what_comes_from_elsewhere_is_turned_away_when_nobody_knows_what_is_held(relay: Relay) -> None:
    async def away(channel: str, recipient: Address) -> tuple[Mail, ...]:
        raise MailboxUnavailableError

    relay._mailbox.take = away  # type: ignore[method-assign]  # it loses its server
    master, at_master = join(relay, MASTER)
    later: list[Member] = []
    said: list[Outcome] = []
    relay.look_later = later.append
    relay.look_again(master.id)
    assert relay.accept(master.id, b"{}") is None
    relay.park(master.id, b"{}", said.append)
    relay.hand(master.id, msgspec.json.encode({"messageType": "STATUS_RESPONSE"}))
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        relay.exchange.start(group)
    await relay.exchange.stop()

    assert said == [Outcome.ABSENT], "its sender's node has it held, behind what may be held already"
    assert at_master.frames == [{"messageType": "STATUS_RESPONSE"}]
    assert later == [master]
