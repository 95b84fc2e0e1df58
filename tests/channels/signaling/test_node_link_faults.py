"""Two ends of a link and a bus that loses, doubles, holds and turns frames: properties of all that may happen."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from channels.signaling.link_frame import Frame, decode
from channels.signaling.node_link import Arrived, NodeLink, Outcome, Settled


class _End:
    """One node in the model: its link, what it said and what became of it, what it was told."""

    def __init__(self, name: str) -> None:
        self.link = NodeLink[int](name, 1)
        self.said: dict[int, str] = {}
        self.settled: dict[int, Outcome] = {}
        self.handed: list[int] = []
        self.refused: set[int] = set()
        self.deferred: list[tuple[Arrived, int]] = []

    def note(self, settled: list[Settled[int]]) -> None:
        for each in settled:
            assert each.context not in self.settled, "settled twice"
            self.settled[each.context] = each.outcome


class TwoNodes(RuleBasedStateMachine):
    """Any loss, repetition, delay and reordering between two nodes; either may die."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.ends = {"a": _End("a"), "b": _End("b")}
        self.flying: list[tuple[str, Frame]] = []  # to whom, what
        self.numbers = 0
        self.dead: set[str] = set()

    sides = st.sampled_from(["a", "b"])

    @rule(side=sides, flow=st.sampled_from("xyz"), patience=st.sampled_from([0.5, 1.5, 15.0]))
    def say(self, side: str, flow: str, patience: float) -> None:
        if side in self.dead:
            return
        self.numbers += 1
        end = self.ends[side]
        assert end.link.send(b"%d" % self.numbers, flow, self.numbers, self.now + patience)
        end.said[self.numbers] = flow

    @rule(side=sides, is_heard=st.booleans())
    def flush(self, side: str, is_heard: bool) -> None:
        if side in self.dead:
            return
        other = "b" if side == "a" else "a"
        for frame in map(decode, self.ends[side].link.frames(self.now)):
            if is_heard and other not in self.dead:
                self.flying.append((other, frame))
            else:
                self.ends[side].link.unheard(frame)

    @precondition(lambda self: self.flying)
    @rule(
        data=st.data(), stays=st.booleans(), mood=st.sampled_from(["take", "take", "take", "absent", "slow", "later"])
    )
    def arrive(self, data: st.DataObject, stays: bool, mood: str) -> None:
        at = data.draw(st.integers(0, len(self.flying) - 1))
        to, frame = self.flying[at] if stays else self.flying.pop(at)
        self._receive(to, frame, mood)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))

    @rule(side=sides, is_taken=st.booleans())
    def decide(self, side: str, is_taken: bool) -> None:
        end = self.ends[side]
        while end.deferred:
            arrived, number = end.deferred.pop(0)
            if is_taken:
                end.handed.append(number)
                end.link.accept(arrived)
            else:
                end.refused.add(number)
                end.link.refuse(arrived, Outcome.ABSENT)

    @rule(side=sides, seconds=st.sampled_from([0.01, 0.3, 0.5, 2.0]))
    def wait(self, side: str, seconds: float) -> None:
        self.now += seconds
        self.ends[side].note(self.ends[side].link.expire(self.now))

    @rule(side=sides, flow=st.sampled_from("xyz"))
    def withdraw(self, side: str, flow: str) -> None:
        self.ends[side].note(self.ends[side].link.withdraw(flow))

    @rule(side=sides)
    def bus_is_back(self, side: str) -> None:
        self.ends[side].link.resend()

    @rule(side=sides)
    def die(self, side: str) -> None:
        if not self.dead and self.numbers > 8:
            self.dead.add(side)

    def _receive(self, to: str, frame: Frame, mood: str) -> None:
        if to in self.dead:
            return
        end = self.ends[to]
        settled, arrived = end.link.receive(frame)
        end.note(settled)
        for each in arrived:
            number = int(each.body)
            if mood == "later" or end.deferred:  # behind one that waits, all wait: as for a recipient that comes in
                end.link.defer(each)
                end.deferred.append((each, number))
            elif mood == "take":
                end.handed.append(number)
            else:
                end.refused.add(number)
                end.link.refuse(each, Outcome.ABSENT if mood == "absent" else Outcome.SLOW)

    @invariant()
    def once_in_order_and_as_reported(self) -> None:
        if not hasattr(self, "ends"):
            return
        for end, other in ((self.ends["a"], self.ends["b"]), (self.ends["b"], self.ends["a"])):
            assert other.handed == sorted(set(other.handed)), "twice or out of order"
            handed = set(other.handed)
            for number, outcome in end.settled.items():
                if outcome is Outcome.DELIVERED:
                    assert number in handed
                elif outcome is not Outcome.DOUBTFUL:
                    assert number not in handed
                if outcome in (Outcome.ABSENT, Outcome.SLOW):
                    assert number in other.refused

    def teardown(self) -> None:
        """The bus heals: now everything a living node said is settled, within its patience."""
        for _ in range(4):
            for side in "ab":
                self.decide(side, True)
                if side not in self.dead:
                    self.ends[side].note(self.ends[side].link.expire(self.now))
                    self.flush(side, True)
            for to, frame in self.flying:
                self._receive(to, frame, "take")
            self.flying = []
            self.now += 2.0
        self.once_in_order_and_as_reported()
        for side in "ab":
            end = self.ends[side]
            if side not in self.dead:
                end.note(end.link.expire(self.now + 20.0))
                assert set(end.settled) == set(end.said)
                if not self.dead:
                    late = {number for number, outcome in end.settled.items() if outcome is Outcome.DOUBTFUL}
                    assert len(end.link) == 0
                    assert late <= set(end.said)


TwoNodes.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
test_any_bus_hands_over_once_in_order_or_reports = TwoNodes.TestCase
