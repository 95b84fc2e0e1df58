"""The exchange of one node between its connections, another node that a test plays, presence and the mailbox."""

import asyncio

import msgspec
import pytest

from channels.names import Role
from channels.presence import Holder
from channels.signaling import envelope
from channels.signaling.envelope import EVERY_NODE, Collect, Deliver, Evict, Gone, inbox
from channels.signaling.exchange import PATIENCE_S
from channels.signaling.link_frame import Frame, decode, encode
from channels.signaling.mailbox import Mail
from channels.signaling.node_link import Outcome
from channels.signaling.protocol import MASTER
from tests.channels.signaling.exchange_rig import Rig, mail
from tests.channels.signaling.rig import turns


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_work_waits_for_the_start_and_runs_in_order(rig: Rig) -> None:
    for number in range(5):
        rig.exchange.send(mail(str(number)))
    assert rig.exchange.is_busy("demo", MASTER)

    async with rig.running():
        await turns()

    assert rig.here.kept == ["0", "1", "2", "3", "4"]
    assert not rig.exchange.is_busy("demo", MASTER)
    assert (len(rig.exchange), rig.exchange.pending) == (0, 0)


async def test_a_full_channel_is_answered_and_urgent_work_still_fits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.flows.WAITING_LIMIT", 4)
    for number in range(6):
        rig.exchange.send(mail(str(number)))
    rig.exchange.expire_mail(mail("0"))

    assert rig.here.answers == [("4", "full"), ("5", "full")]
    async with rig.running():
        await turns()
    assert rig.here.answers[2:] == [("0", "expired")]


async def test_after_one_lookup_mail_goes_straight_to_the_link_and_counts_when_it_is_acknowledged(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        for name in "23":
            rig.exchange.send(mail(name))
            assert not rig.exchange.is_busy("demo", MASTER)
        await turns()
        assert [len(frame.messages) for frame in rig.heard] == [1, 2]
        assert rig.bodies() == [Deliver("b-1", b"{}")] * 3
        assert rig.presence.questions == 1
        assert rig.here.stats.messages == {}
        rig.acknowledge()

    assert rig.here.stats.messages == {("viewer", "ICE_CANDIDATE", "published"): 3}
    assert rig.exchange.pending == 0
    rig.exchange.left("demo")
    assert len(rig.exchange) == 0


async def test_mail_that_the_other_node_refuses_goes_where_the_recipient_is_now_before_later_mail(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        for name in "123":
            rig.exchange.send(mail(name))
        await turns()
        await rig.master_is_on_b("b-2")
        rig.acknowledge((2, Outcome.ABSENT), (3, Outcome.ABSENT))
        rig.exchange.send(mail("4"))
        rig.heard.clear()
        await turns()
        assert rig.bodies() == [Deliver("b-2", b"{}")] * 3
        rig.acknowledge((5, Outcome.SLOW))

    assert rig.here.answers == [("3", "slow")]
    assert rig.here.stats.messages["viewer", "ICE_CANDIDATE", "published"] == 3


async def test_mail_refused_by_a_connection_that_presence_still_names_is_held(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.acknowledge((1, Outcome.ABSENT))
        await turns()

    assert rig.here.kept == ["1"]
    assert len(rig.bodies()) == 1, "nobody is told to look, since nobody is there"


async def test_a_node_that_does_not_answer_is_given_up_in_time(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        rig.exchange.send(mail("quiet", correlation_id=""))
        await turns()
        await rig.wait(0.4)
        await rig.wait(PATIENCE_S - 0.3)
        assert rig.here.answers == [("1", "unreachable")]
        assert [len(frame.messages) for frame in rig.heard] == [2, 2, 1]
        await rig.wait(15.0)

    assert rig.here.answers == [("1", "unreachable"), ("quiet", "unreachable")]
    assert rig.exchange.pending == 0


async def test_a_silent_node_whose_recipient_is_elsewhere_loses_what_was_surely_not_heard(rig: Rig) -> None:
    await rig.master_is_on_b()
    b = rig.bus.join()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.bus._topics.clear()  # b is gone
        rig.exchange.send(mail("2"))
        await turns()
        heard: list[bytes] = []
        await b.subscribe(inbox("c"), heard.append)
        await rig.presence.join("c").admit("demo", Role.MASTER, "", "c-1", 10)
        await rig.wait(0.3)
        await rig.wait(0.1)

        assert rig.here.answers == [("1", "unreachable")], "whether b had it nobody knows"
        assert [envelope.decode(body) for _, body in decode(heard[0]).messages] == [Deliver("c-1", b"{}")]
        rig.exchange.receive(encode(Frame("c", 1, 1, decode(heard[0]).epoch, 1)))

    assert rig.here.stats.publish_unreachable > 0


async def test_while_presence_is_away_senders_are_told_in_time_and_known_routes_go_on(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.presence.is_away = True
        rig.exchange.send(mail("2"))
        rig.exchange.send(mail("3", channel="other"))
        await turns()
        rig.acknowledge()
        for _ in range(5):
            await rig.wait(0.3)

    assert rig.here.answers == [("3", "unreachable")]
    assert rig.here.stats.messages["viewer", "ICE_CANDIDATE", "published"] == 2


async def test_a_presence_that_comes_back_in_time_costs_nothing(rig: Rig) -> None:
    await rig.master_is_on_b()
    rig.presence.is_away = True
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.presence.is_away = False
        await rig.wait(0.3)
        assert rig.bodies() == [Deliver("b-1", b"{}")]
        rig.acknowledge()


async def test_a_recipient_that_comes_here_waits_for_what_is_on_its_way_elsewhere(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.exchange.came("demo", MASTER)
        assert rig.exchange.is_busy("demo", MASTER)
        rig.exchange.send(mail("2"))
        rig.exchange.send(mail("quiet", correlation_id=""))
        await turns()
        assert rig.here.kept == []
        await rig.wait(PATIENCE_S + 0.5)
        assert rig.here.answers == [("1", "unreachable"), ("2", "unreachable")]
        rig.exchange.came("nowhere", MASTER)


async def test_a_resend_puts_everything_on_its_way_out_again(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.exchange.resend()
        await turns()
        assert rig.bodies() == [Deliver("b-1", b"{}")] * 2
        rig.acknowledge()


async def test_a_link_on_which_too_much_is_underway_refuses(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        rig.exchange.send(msgspec.structs.replace(mail("big"), frame=bytes(9_000_000)))
        rig.acknowledge()

    assert rig.here.answers == [("big", "full")]


async def test_what_nobody_waits_for_and_does_not_fit_is_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.node_link.WINDOW", 1)
    async with rig.running():
        for number in range(2):
            rig.exchange.answer(msgspec.structs.replace(mail(str(number)), node="b"), b"{}")
        assert rig.here.stats.publish_unreachable == 1


async def test_a_mail_that_was_passed_on_too_often_is_answered(rig: Rig) -> None:
    rig.exchange.pass_on(mail("1", hops=3))
    rig.exchange.pass_on(mail("2", hops=2))

    assert rig.here.answers == [("1", "unreachable")]
    async with rig.running():
        await turns()
    assert rig.here.kept == ["2"]


async def test_a_channel_that_waits_delays_no_other(rig: Rig) -> None:
    gate = asyncio.Event()
    async with rig.running():
        rig.exchange.put("slow", MASTER, gate.wait)  # type: ignore[arg-type]
        rig.exchange.send(mail("1", channel="slow"))
        rig.exchange.send(mail("2", channel="quick"))
        await turns()
        assert rig.here.kept == ["2"]
        gate.set()

    assert rig.here.kept == ["2", "1"]


async def test_what_other_nodes_ask_is_done_once(rig: Rig) -> None:
    asked = (Deliver("a-1", b"{}"), Evict("a-2"), Collect("a-3"))
    bodies = tuple((number, envelope.encode(body)) for number, body in enumerate(asked, 1))
    async with rig.running():
        for _ in range(2):
            await rig.bus.publish(inbox("a"), encode(Frame("b", 1, 1, messages=bodies)))

    assert rig.here.accepted == [("a-1", b"{}"), ("a-2", b"replaced"), ("a-3", b"look again")]


async def test_a_connection_of_another_node_is_evicted_and_a_sender_there_answered(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.evict(Holder(Role.MASTER, "", "b", "b-1", 1))
        rig.exchange.evict(Holder(Role.MASTER, "", "a", "a-1", 1))
        rig.exchange.answer(msgspec.structs.replace(mail("1"), node="b", connection_id="b-7"), b"{}")
        await turns()

    assert rig.bodies() == [Evict("b-1"), Deliver("b-7", b"{}")]
    assert rig.here.accepted == [("a-1", b"replaced")]


async def test_a_deleted_channel_is_told_to_all_nodes_until_the_stop(rig: Rig) -> None:
    heard: list[bytes] = []
    await rig.b.subscribe(EVERY_NODE, heard.append)
    async with rig.running():
        rig.exchange.close_channel("demo", 1001, "deleted")
        await turns()
        assert len(rig.exchange._notices) == 2

    assert [envelope.decode_notice(payload) for payload in heard] == [Gone("demo", 1001, "deleted")]
    assert len(rig.exchange._notices) == 0


async def test_what_is_sent_to_all_nodes_is_heard_until_the_stop(rig: Rig) -> None:
    async with rig.running():
        await rig.bus.publish(EVERY_NODE, envelope.encode_notice(Gone("demo", 1001, "deleted")))
    await rig.bus.publish(EVERY_NODE, envelope.encode_notice(Gone("demo", 1001, "again")))

    assert rig.here.answers == [("demo", "deleted")]


async def test_what_comes_while_the_node_ends_waits_for_its_next_start(rig: Rig) -> None:
    async with asyncio.TaskGroup() as ending:
        pass
    rig.exchange._group = ending
    rig.exchange.send(mail("1"))
    assert rig.here.kept == []
    async with rig.running():
        await turns()

    assert rig.here.kept == ["1"]


async def test_who_waits_for_an_answer_is_known_wherever_its_mail_is(rig: Rig) -> None:
    await rig.master_is_on_b()

    def from_(connection_id: str, correlation_id: str = "c") -> Mail:
        return msgspec.structs.replace(mail(connection_id, 0, "demo", correlation_id), connection_id=connection_id)

    async with rig.running():
        rig.exchange.send(from_("queued"))
        assert rig.exchange.underway() == {"queued"}
        await turns()
        rig.exchange.send(from_("on-the-link"))
        rig.exchange.send(from_("wants-none", ""))
        assert rig.exchange.underway() == {"queued", "on-the-link"}
        await turns()
        rig.acknowledge()
        assert rig.exchange.underway() == set()

        rig.presence.is_away = True
        rig.exchange.came("demo", MASTER)
        rig.exchange.send(from_("routing"))
        await turns()
        rig.exchange.send(from_("behind"))
        assert rig.exchange.underway() == {"routing", "behind"}
        await rig.wait(PATIENCE_S + 1.0)
        assert rig.exchange.underway() == set()
        assert {id for id, _ in rig.here.answers} == {"routing", "behind"}


async def test_what_comes_while_a_node_leaves_is_acknowledged_and_what_comes_after_reaches_nobody(rig: Rig) -> None:
    await rig.b.subscribe(inbox("b"), lambda payload: rig.heard.append(decode(payload)))
    unsubscribe = rig.bus.unsubscribe

    async def slow(topic: str) -> None:
        if topic == inbox("a"):
            assert (
                await rig.b.publish(
                    topic, encode(Frame("b", 1, 1, 0, 0, (), ((1, envelope.encode(Deliver("a-1", b"{}"))),)))
                )
                == 1
            )
        await unsubscribe(topic)
        assert await rig.b.publish(topic, b"too late") == 0

    rig.bus.unsubscribe = slow  # type: ignore[method-assign]
    async with rig.running():
        pass

    assert rig.here.accepted == [("a-1", b"{}")]
    assert [(frame.acknowledged_epoch, frame.acknowledged) for frame in rig.heard] == [(1, 1)]


async def test_a_bus_that_does_not_let_go_holds_the_end_up_for_a_second_at_most(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.signaling.exchange._LEAVE_S", 0.01)

    async def never(topic: str) -> None:
        await asyncio.Event().wait()

    rig.bus.unsubscribe = never  # type: ignore[method-assign]
    async with rig.running():
        pass
    assert rig.here.stats.publish_unreachable == 1


async def test_a_node_that_leaves_asks_for_all_in_one_go_its_own_inbox_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.signaling.exchange._LEAVE_S", 60.0)
    asked: list[str] = []
    has_all = asyncio.Event()

    async def far_away(topic: str) -> None:
        asked.append(topic)
        if len(asked) == 2:
            has_all.set()
        await has_all.wait()

    rig.bus.unsubscribe = far_away  # type: ignore[method-assign]
    async with rig.running():
        pass
    assert asked == [inbox("a"), envelope.EVERY_NODE]
