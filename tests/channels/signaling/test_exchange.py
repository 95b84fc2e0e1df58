import asyncio

import msgspec

from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.errors import ServiceError
from channels.names import Role
from channels.presence import Holder
from channels.signaling.envelope import EVERY_NODE, Answer, Deliver, Gone, decode, encode, inbox
from channels.signaling.exchange import Exchange
from channels.signaling.limits import Limits
from channels.signaling.mailbox import InProcessMailbox, Mail
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from channels.signaling.stats import HubStats
from tests.channels.signaling.rig import Clock

VIEWER = Address(Role.VIEWER, "v1")


class Here:
    """A node without connections that notes what it is told."""

    def __init__(self) -> None:
        self.stats = HubStats()
        self.answers: list[tuple[str, str]] = []
        self.kept: list[str] = []

    def deliver(self, mail: Mail) -> bool:
        return False

    async def collect(self, channel: str, recipient: Address) -> None:
        raise AssertionError("nobody is here")

    def keep_time(self, mail: Mail) -> None:
        self.kept.append(mail.id)

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        self.answers.append((mail.id, result))

    def has(self, channel: str, recipient: Address, fence: int) -> bool:
        return False

    def hand(self, connection_id: str, frame: bytes) -> None:
        raise AssertionError("nobody is here")

    def close_replaced(self, connection_id: str) -> None:
        raise AssertionError("nobody is here")

    def close_here(self, channel: str, code: int, reason: str) -> None:
        self.answers.append((channel, reason))

    def count(self, mail: Mail, result: str) -> None:
        self.stats.count_message("viewer", mail.action.value, result)


def mail(id: str, hops: int = 0, channel: str = "demo") -> Mail:
    return Mail(id, channel, MASTER, VIEWER, Action.ICE_CANDIDATE, b"{}", "c", 60.0, "a", "a-1", hops)


def exchange(here: Here, bus: EmbeddedBus | None = None) -> Exchange:
    mailbox = InProcessMailbox(Limits(held_messages_per_pair=5000, held_messages_per_channel=5000), Clock())
    return Exchange("a", bus or EmbeddedBus(), EmbeddedPresence("a"), mailbox, here)


async def finished(made: Exchange) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        made.start(group)
    await made.stop()


async def test_work_waits_for_the_start_and_runs_in_order() -> None:
    here = Here()
    made = exchange(here)
    for number in range(5):
        made.send(mail(str(number)))
    assert made.is_busy("demo", MASTER)

    await finished(made)

    assert here.kept == ["0", "1", "2", "3", "4"]
    assert not made.is_busy("demo", MASTER)
    assert len(made) == 0


async def test_a_full_lane_is_answered_and_urgent_work_still_fits() -> None:
    here = Here()
    made = exchange(here)
    for number in range(1026):
        made.send(mail(str(number)))
    made.answer(msgspec.structs.replace(mail("1"), node="b", connection_id="b-1"), b"{}")

    assert here.answers == [("1024", "full"), ("1025", "full")]
    await finished(made)
    assert here.stats.publish_unreachable == 1


async def test_a_mail_that_was_passed_on_too_often_is_answered() -> None:
    here = Here()
    made = exchange(here)

    made.pass_on(mail("1", hops=3))
    made.pass_on(mail("2", hops=2))

    assert here.answers == [("1", "unreachable")]
    await finished(made)
    assert here.kept == ["2"]


async def test_an_expired_mail_is_answered_once() -> None:
    here = Here()
    made = exchange(here)
    made.send(mail("1"))
    made.expire(mail("1"))
    made.expire(mail("1"))

    await finished(made)

    assert here.answers == [("1", "expired")]


async def test_a_channel_that_waits_delays_no_other() -> None:
    here, made = Here(), None
    gate = asyncio.Event()
    made = exchange(here)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        made.start(group)
        made.put(("slow", MASTER), gate.wait)  # type: ignore[arg-type]
        made.send(mail("1", channel="slow"))
        made.send(mail("2", channel="quick"))
        while made.is_busy("quick", MASTER):  # noqa: ASYNC110  # a few turns of the loop
            await asyncio.sleep(0)
        assert here.kept == ["2"]
        gate.set()

    assert here.kept == ["2", "1"]


async def test_an_envelope_reaches_the_other_node() -> None:
    bus = EmbeddedBus()
    received: list[bytes] = []
    await bus.join().subscribe(inbox("b"), received.append)
    made = exchange(Here(), bus)
    made.answer(msgspec.structs.replace(mail("1"), node="b", connection_id="b-1"), b"{}")

    await finished(made)

    assert [decode(payload) for payload in received] == [Answer("b-1", b"{}")]


async def test_what_is_sent_to_all_nodes_is_heard_until_the_stop() -> None:
    bus, here = EmbeddedBus(), Here()
    made = exchange(here, bus)
    await made.listen()
    await bus.publish(EVERY_NODE, encode(Gone("demo", 1001, "deleted")))
    await made.stop()

    assert await bus.publish(EVERY_NODE, encode(Gone("demo", 1001, "again"))) == 0
    assert here.answers == [("demo", "deleted")]


async def test_a_mail_for_somebody_who_is_not_here_is_looked_for_again() -> None:
    here = Here()
    made = exchange(here)
    made.receive(encode(Deliver(mail("1"), 7)))
    made.receive(b"noise")

    await finished(made)

    assert here.kept == ["1"]
    assert here.stats.envelopes_refused == 1


async def test_evicting_a_connection_of_a_node_that_is_gone_is_counted() -> None:
    here = Here()

    await exchange(here).evict(Holder(Role.MASTER, "", "b", "b-1", 1))

    assert here.stats.publish_unreachable == 1
