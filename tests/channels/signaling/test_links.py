"""The links of one node over a bus: when frames go out. What they mean, `test_node_link` has."""

import asyncio

import pytest

from channels.bus import BusUnavailableError
from channels.embedded.bus import EmbeddedBus
from channels.names import Role
from channels.signaling.envelope import inbox
from channels.signaling.flows import Flow, Parcel
from channels.signaling.link_frame import Frame, decode, encode
from channels.signaling.links import Links, Peer
from channels.signaling.mailbox import Mail
from channels.signaling.members import Settle
from channels.signaling.messages import Action
from channels.signaling.node_link import WINDOW, Arrived, Outcome
from channels.signaling.protocol import MASTER, Address
from channels.signaling.stats import HubStats
from tests.channels.signaling.rig import Clock, turns

MAIL = Mail("1", "arn", MASTER, Address(Role.VIEWER, "v1"), Action.SDP_OFFER, b"{}", "c", 60.0, "a", "a-1")
FLOW = Flow("arn", MASTER)


class End:
    """One node: its links, what it heard and what became of what it said."""

    def __init__(self, name: str, bus: EmbeddedBus, clock: Clock) -> None:
        self.name, self.bus = name, bus
        self.stats = HubStats()
        self.heard: list[bytes] = []
        self.outcomes: list[Outcome] = []
        self.suspects: list[Flow] = []
        self.answer: Outcome | None = Outcome.DELIVERED
        self.settle: list[Settle] = []
        self.links = Links(name, bus, clock, self, self.stats)

    async def open(self) -> None:
        await self.bus.subscribe(inbox(self.name), self.links.receive)
        self.links.open(asyncio.get_running_loop())

    def say(self, to: "End", *words: str, until: float = 1e9) -> None:
        for word in words:
            assert self.links.send(to.name, word.encode(), FLOW, Parcel(MAIL, FLOW, until), until)

    def settled(self, parcel: Parcel, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def suspect(self, node: str, flow: Flow) -> None:
        self.suspects.append(flow)

    def arrived(self, peer: Peer, arrived: Arrived) -> Outcome | None:
        self.heard.append(arrived.body)
        if self.answer is None:
            self.settle.append(peer.defer(arrived))
        return self.answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ends(clock: Clock) -> tuple[End, End]:
    bus = EmbeddedBus()
    a, b = End("a", bus.join(), clock), End("b", bus.join(), clock)
    await a.open()
    await b.open()
    return a, b


async def test_one_turn_of_the_loop_is_one_frame_and_the_first_is_acknowledged_at_once(ends: tuple[End, End]) -> None:
    a, b = ends
    frames: list[bytes] = []
    watcher = a.bus.join()
    await watcher.subscribe(inbox("b"), frames.append)
    a.say(b, "1", "2")
    a.say(b, "3")
    assert len(a.links) == 3
    await turns()

    assert b.heard == [b"1", b"2", b"3"]
    assert a.outcomes == [Outcome.DELIVERED] * 3
    assert [len(decode(frame).messages) for frame in frames] == [3]
    assert len(a.links) == 0


@pytest.fixture
def _no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the machine stalls, acknowledgements wait until a test lets their time come."""
    monkeypatch.setattr("channels.signaling.node_link.ACKNOWLEDGE_S", 60.0)


def acknowledge(end: End) -> None:
    """The time of the acknowledgements that wait has come."""
    assert end.links._owing_timer is not None
    end.links._owing_timer._run()


@pytest.mark.usefixtures("_no_haste")
async def test_later_acknowledgements_come_together_or_with_what_is_said_anyway(
    ends: tuple[End, End], clock: Clock
) -> None:
    a, b = ends
    frames: list[bytes] = []
    await a.bus.join().subscribe(inbox("a"), frames.append)
    for word in "123":
        a.say(b, word)
        await turns()
    assert len(frames) == 1
    b.say(a, "x")
    await turns()
    assert (len(frames), a.outcomes) == (2, [Outcome.DELIVERED]), "the last acknowledgement is young"
    clock.now += 30.0
    b.say(a, "y")
    await turns()
    assert (len(frames), a.outcomes) == (3, [Outcome.DELIVERED] * 3)
    a.say(b, "4")
    await turns()
    acknowledge(b)
    await turns()
    assert (len(frames), len(a.outcomes)) == (3, 3), "one was told with a message since the timer began"
    acknowledge(b)
    await turns()
    assert (len(frames), a.outcomes) == (4, [Outcome.DELIVERED] * 4)


@pytest.mark.usefixtures("_no_haste")
async def test_what_arrives_in_the_turn_in_which_something_is_said_is_acknowledged_later(ends: tuple[End, End]) -> None:
    a, b = ends
    a.say(b, "1")
    await turns()
    a.say(b, "2")
    b.say(a, "x")
    await turns()
    assert (a.heard, a.outcomes) == ([b"x"], [Outcome.DELIVERED]), "the last acknowledgement is young"
    acknowledge(b)
    await turns()
    assert a.outcomes == [Outcome.DELIVERED] * 2


@pytest.mark.usefixtures("_no_haste")
async def test_what_is_kept_for_an_acknowledgement_is_bounded(ends: tuple[End, End]) -> None:
    a, b = ends
    a.say(b, "first")
    await turns()
    a.say(b, "second")
    await turns()
    assert len(a.outcomes) == 1, "the next acknowledgement waits"

    a.say(b, *("more" for _ in range(WINDOW // 8 - 1)))
    await turns()

    assert len(a.links) == 0


@pytest.mark.usefixtures("_no_haste")
async def test_a_verdict_is_told_now_or_later(ends: tuple[End, End]) -> None:
    a, b = ends
    b.answer = Outcome.SLOW
    a.say(b, "1")
    await turns()
    b.answer = None
    a.say(b, "2", "3")
    await turns()
    assert a.outcomes == [Outcome.SLOW]
    for settle, outcome in zip(b.settle, (Outcome.DELIVERED, Outcome.ABSENT), strict=True):
        settle(outcome)
    acknowledge(b)
    await turns()

    assert a.outcomes == [Outcome.SLOW, Outcome.DELIVERED, Outcome.ABSENT]


async def test_what_is_lost_is_sent_again_and_given_up(ends: tuple[End, End], clock: Clock) -> None:
    a, b = ends
    await b.bus.unsubscribe(inbox("b"))
    heard: list[bytes] = []
    await b.bus.subscribe(inbox("b"), heard.append)
    a.say(b, "1", until=clock.now + 1.0)
    await turns()
    clock.now += 0.3
    a.links.expire()
    await turns()
    assert len(heard) == 2
    a.links.expire()
    assert a.suspects == [FLOW]
    clock.now += 0.7
    a.links.expire()
    assert a.outcomes == [Outcome.DOUBTFUL]


async def test_what_reached_nobody_is_known_to_be_unsent(ends: tuple[End, End], clock: Clock) -> None:
    a, b = ends
    await b.bus.unsubscribe(inbox("b"))
    a.say(b, "1", until=clock.now + 1.0)
    a.bus.post("nodes", b"a notice to all")
    await turns()
    assert a.stats.publish_unreachable == 2
    clock.now += 1.0
    a.links.expire()
    assert a.outcomes == [Outcome.UNSENT]
    a.say(b, "2")
    a.links.withdraw("b", FLOW)
    a.links.withdraw("c", FLOW)
    assert a.outcomes == [Outcome.UNSENT, Outcome.UNSENT]


async def test_a_bus_that_is_back_is_used_at_once(ends: tuple[End, End]) -> None:
    a, b = ends
    await b.bus.unsubscribe(inbox("b"))
    a.say(b, "1")
    await turns()
    await b.open()
    a.links.resend()
    await turns()
    assert (b.heard, a.outcomes) == ([b"1"], [Outcome.DELIVERED])


async def test_a_link_that_is_not_used_is_forgotten_and_goes_on_in_a_new_epoch(
    ends: tuple[End, End], clock: Clock
) -> None:
    a, b = ends
    for word in "12":
        a.say(b, word)
        await turns()
        a.links.expire()
        clock.now += 61.0
        a.links.expire()
        assert a.links._peers == {}

    assert b.heard == [b"1", b"2"]
    assert a.outcomes == [Outcome.DELIVERED, Outcome.DELIVERED]


async def test_a_link_that_was_used_just_now_is_not_forgotten_however_old_it_is(
    ends: tuple[End, End], clock: Clock
) -> None:
    a, b = ends
    a.say(b, "1")
    await turns()
    clock.now += 59.0
    silence = b.bus._topics.pop(inbox("a"))
    a.say(b, "2")
    await turns()
    clock.now += 2.0
    b.links.expire()
    b.bus._topics[inbox("a")] = silence
    a.links.resend()
    await turns()

    assert b.heard == [b"1", b"2"], "the acknowledgement was lost, and it was said again"


async def test_what_waits_for_a_node_that_died_is_forgotten_with_it(ends: tuple[End, End], clock: Clock) -> None:
    _, b = ends
    b.links.receive(encode(Frame("gone", 1, 1, messages=((2, b"early"),))))
    await turns()
    b.links.expire()
    assert len(b.links._peers) == 1
    clock.now += 61.0
    b.links.expire()
    assert b.links._peers == {}


async def test_what_has_arrived_is_told_before_the_end(ends: tuple[End, End], clock: Clock) -> None:
    a, b = ends
    for word in "12":
        a.say(b, word)
        await turns()
    assert len(a.outcomes) == 1
    b.say(a, "x")
    await b.links.close()
    assert (a.heard, len(a.outcomes)) == ([b"x"], 2)

    async def away(topic: str, payload: bytes) -> int:
        raise BusUnavailableError("away")

    a.bus.publish = away  # type: ignore[method-assign]  # this end loses its bus
    a.say(b, "3")
    await a.links.close()
    assert a.stats.publish_unreachable == 1


async def test_all_other_nodes_are_told_in_one_go(
    ends: tuple[End, End], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.signaling.links._FLUSH_S", 60.0)
    a, b = ends
    c = End("c", b.bus.join(), clock)
    await c.open()
    for word in "12":
        a.say(b, word)
        c.say(b, word)
        await turns()
    publish, asked, has_all = b.bus.publish, [], asyncio.Event()

    async def far_away(topic: str, payload: bytes) -> int:
        asked.append(topic)
        if len(asked) == 2:
            has_all.set()
        await has_all.wait()
        return await publish(topic, payload)

    b.bus.publish = far_away  # type: ignore[method-assign]
    await b.links.close()
    assert sorted(asked) == [inbox("a"), inbox("c")]
    assert (len(a.outcomes), len(c.outcomes)) == (2, 2)


async def test_noise_is_counted(ends: tuple[End, End]) -> None:
    ends[0].links.receive(b"noise")
    assert ends[0].stats.envelopes_refused == 1
