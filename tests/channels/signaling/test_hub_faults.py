"""Nodes over a bus that loses, delays, repeats and reorders: every message is delivered once and in order, or answered.

The clock is moved by hand. Over a real Redis the same is tested in `tests/channels/redis/test_hubs.py`.
"""

import random

import pytest

from channels.bus import Receive
from channels.embedded.bus import EmbeddedBus
from channels.signaling.limits import Limits
from tests.channels.signaling.ledger import Ledger
from tests.channels.signaling.rig import Node, cluster, running, turns


class FaultyBus(EmbeddedBus):
    """Does with what is posted what a seed says."""

    def __init__(self, seed: int, loss: float, topics: dict[str, dict[EmbeddedBus, Receive]] | None = None) -> None:
        super().__init__(topics)
        self.chance = random.Random(seed)
        self.loss = loss
        self.late: list[tuple[str, bytes]] = []
        self.is_down = False
        self.ends: list[FaultyBus] = [self]

    def join(self) -> "FaultyBus":
        end = FaultyBus(0, self.loss, self._topics)
        end.chance, end.ends = self.chance, self.ends
        self.ends.append(end)
        return end

    def post(self, topic: str, payload: bytes) -> None:
        if self.is_down:
            assert self._unheard is not None
            self._unheard(topic, payload)
        elif (luck := self.chance.random()) < self.loss:
            pass  # whoever posts it does not know
        elif luck < self.loss + 0.15:
            self.late.append((topic, payload))
        else:
            super().post(topic, payload)
            if luck > 0.9:
                self.late.append((topic, payload))  # and once more

    def release(self) -> None:
        """Some of what was delayed arrives, in any order."""
        self.chance.shuffle(self.late)
        for _ in range(len(self.late) // 2 + 1):
            if self.late:
                super().post(*self.late.pop())


async def step(bus: FaultyBus, nodes: tuple[Node, ...], seconds: float) -> None:
    nodes[0].clock.now += seconds
    for end in bus.ends:
        end.release()
    for node in nodes:
        node.hub.expire()
    await turns(6)


async def settle(bus: FaultyBus, nodes: tuple[Node, ...]) -> None:
    """Two seconds: what was promised to be known is known."""
    for _ in range(20):
        await step(bus, nodes, 0.1)


@pytest.mark.parametrize("seed", range(4))
async def test_any_bus_leaves_nothing_unaccounted_for(seed: int) -> None:
    bus = FaultyBus(seed, loss=0.25)
    nodes = cluster(Limits.relaxed(), ("a", "b"), bus=bus)
    ledger = Ledger("v1", "v2")
    async with running(*nodes):
        await ledger.master.connect(nodes[0].hub)
        for viewer in ledger.viewers.values():
            await viewer.connect(nodes[1].hub)
        for _ in range(60):
            ledger.talk()
            await step(bus, nodes, 0.03)
        await settle(bus, nodes)

    ledger.check()
    assert ledger.delivered >= 150


@pytest.mark.parametrize("seed", range(3))
async def test_a_recipient_that_moves_between_three_nodes_loses_nothing(seed: int) -> None:
    bus = FaultyBus(seed, loss=0.1)
    nodes = cluster(Limits.relaxed(), ("a", "b", "c"), bus=bus)
    ledger = Ledger("v1", "v2")
    async with running(*nodes):
        for party, node in zip(ledger.parties.values(), nodes, strict=True):
            await party.connect(node.hub)
        for number in range(60):
            ledger.talk()
            if number % 10 == 5:
                await ledger.master.connect(nodes[number // 10 % 3].hub)
            if number % 15 == 7:
                mover = ledger.viewers["v2"]
                assert mover.hub is not None
                assert mover.member is not None
                await mover.hub.disconnect(mover.member)
                await step(bus, nodes, 0.02)
                await mover.connect(nodes[number // 15 % 3].hub)
            await step(bus, nodes, 0.03)
        await settle(bus, nodes)

    ledger.check()
    assert ledger.delivered >= 150


@pytest.mark.parametrize("down_s", [0.5, 4.0])
async def test_a_bus_that_is_away_costs_answers_in_time_and_nothing_silently(down_s: float) -> None:
    bus = FaultyBus(1, loss=0.0)
    nodes = cluster(Limits.relaxed(), ("a", "b"), bus=bus)
    ledger = Ledger("v1")
    async with running(*nodes):
        await ledger.master.connect(nodes[0].hub)
        await ledger.viewers["v1"].connect(nodes[1].hub)
        ledger.talk()
        await settle(bus, nodes)
        assert ledger.unaccounted() == []
        for end in bus.ends:
            end.is_down = True
        for _ in range(int(down_s / 0.1)):
            ledger.talk()
            await step(bus, nodes, 0.1)
        for end in bus.ends:
            end.is_down = False
        for node in nodes:
            node.hub.reassert()
        await settle(bus, nodes)
        ledger.talk()
        await settle(bus, nodes)

    ledger.check()


async def test_messages_without_an_id_outlive_a_bus_that_is_away_for_ten_seconds() -> None:
    bus = FaultyBus(1, loss=0.0)
    a, b = cluster(Limits.relaxed(), ("a", "b"), bus=bus)
    async with running(a, b):
        _, at_master = await a.master()
        viewer, _ = await b.viewer("v1")
        b.say(viewer, "AAA0")
        await step(bus, (a, b), 0.1)
        for end in bus.ends:
            end.loss = 1.0
        b.say(viewer, "AAA1")
        for _ in range(100):
            await step(bus, (a, b), 0.1)
        for end in bus.ends:
            end.loss = 0.0
        await settle(bus, (a, b))

    assert at_master.payloads == ["AAA0", "AAA1"]


async def test_a_lost_eviction_is_made_up_for_by_the_renewal() -> None:
    bus = FaultyBus(1, loss=0.0)
    a, b = cluster(Limits.relaxed(), ("a", "b"), bus=bus)
    async with running(a, b):
        _, at_first = await a.master()
        for end in bus.ends:
            end.loss = 1.0
        _, at_second = await b.master()
        await settle(bus, (a, b))
        assert at_first.closed is None
        a.hub.reassert()
        await turns()

    assert at_first.closed == (1001, "another connection has taken the slot: connect again")
    assert at_second.closed is None
