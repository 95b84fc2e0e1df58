"""Both nodes are restarted, one after the other, twice, while masters and viewers of both talk: nothing is lost.

**What counts as accepted.** A message is accepted when the server has read its whole frame, which its sender cannot
see: the service says nothing of a message that arrived. But a client of websockets sends frames until it has read our
close frame, then answers with its own, over one connection in order; and the server reads until that answer. So every
message that a client wrote before it knew of its end was read by the server, unless the connection broke without a
close handshake, which the test would notice (1006). Therefore each message that a client could write counts, with no
exception for the last ones: those were the ones that used to be lost.

**What counts as accounted for**: it came to whom it was sent, once, in order from one connection to another; or its
sender was told within 2 s that it failed. What is held comes when its recipient is back, and at the end all are.

**In doubt**: a node that hears nothing of a message which it sent to another one cannot know whether it was delivered,
and says so to its sender within 2 s; waiting for longer would break that promise, so a message may be delivered and
answered with that very sentence. A node that ends in order leaves no such doubt. It takes what it is sent until Redis
says that nothing more comes, and acknowledges it; what comes after reaches nobody, as its sender knows. So here the
number of those is counted and none is expected, but where the machine stalls for over a second.

**Never a second master**: a viewer that has heard of a newer connection of its master hears nothing of an older one,
but what that one said in the moment of its close, which a busy machine may bring on a little later.
"""

import asyncio
import contextlib
import itertools
import time
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, Line, Party, staying, talking
from tests.faults.rig import PATIENCE_S, all_settled, channel, nodes, slot_nodes, until, until_in
from tests.measured import Row
from tests.nodes import Node, Service
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]
DRAIN_S = 5.0
CHANNELS = 6
PAUSE_S = 0.03
MOMENT = 100  # messages, for which a master that says two of them every 0.03 s needs 1.5 s
DOUBT = "it may have got the message or not"


async def restart(node: Node, redis: RedisServer) -> float:
    """Seconds from SIGTERM to the end; then it is started again."""
    logged = len(node.log)
    began = time.monotonic()
    node.terminate()
    assert await asyncio.to_thread(node.process.wait, DRAIN_S + PATIENCE_S) == 0
    took_s = time.monotonic() - began
    assert len(slot_nodes(redis)) == 1, "no lease of it is left"
    assert '"drained"' in node.log[logged:]
    await asyncio.to_thread(node.start)
    return took_s


async def settle_in(ledgers: list[Ledger], service: Service) -> None:
    """Masters and viewers of each channel at both nodes, so that messages go within and between them."""
    for number, ledger in enumerate(ledgers):
        for place, party in enumerate(ledger.parties):
            await until_in(party, service.nodes[(number + place) % 2])


def overtaken(ledger: Ledger) -> list[int]:
    """For each time that a viewer heard an older connection of its master after a newer one: how much that one said
    after it.
    """
    numbers: dict[Line, list[str]] = {}
    for number, each in ledger.said.items():
        numbers.setdefault(each.line, []).append(number)
    found = []
    for viewer in ledger.viewers.values():
        heard = sorted((at, number) for line in viewer.lines for number, at in line.heard.items())
        lines = [ledger.said[number].line for _, number in heard]
        generations = [ledger.master.lines.index(line) for line in lines]
        newest = itertools.accumulate(generations, max)
        for (_, number), line, generation, highest in zip(heard, lines, generations, newest, strict=True):
            if generation < highest:
                found.append(len(numbers[line]) - 1 - numbers[line].index(number))
    return found


def doubled(ledger: Ledger) -> list[str]:
    """The answers to those that were delivered, too."""
    answers = [ledger.answer(number) for number in ledger.said if ledger.arrivals(number)]
    return [answer[1] for answer in answers if answer is not None]


async def test_a_rolling_restart_under_load(tmp_path: Path, row: Row) -> None:
    words = ("--drain-s", str(DRAIN_S), "--limits-profile", "relaxed")
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        async with nodes(tmp_path, redis.url, *words) as service, contextlib.AsyncExitStack() as stack:
            names = [f"door-{number}" for number in range(CHANNELS)]
            ledgers = [await stack.enter_async_context(channel(service, name, "v1", "v2")) for name in names]
            parties: list[Party] = [party for ledger in ledgers for party in ledger.parties]
            await settle_in(ledgers, service)
            took_s: list[float] = []
            async with staying(*parties, nodes=service.nodes), talking(*ledgers, every_s=PAUSE_S):
                for _ in range(2):
                    for node in service.nodes:
                        took_s.append(await restart(node, redis))
                        await until(lambda: all(party.is_in for party in parties))
                await asyncio.sleep(0.5)
            await all_settled(*ledgers)
            lost = [number for ledger in ledgers for number in ledger.said if not ledger.is_settled(number)]
            ends = [line.end for party in parties for line in party.lines[:-1]]

    doubts = [answer for ledger in ledgers for answer in doubled(ledger)]
    older = [said_after for ledger in ledgers for said_after in overtaken(ledger)]
    answers_s = [seconds for ledger in ledgers for seconds in ledger.answers_s()]
    row("messages", sum(len(ledger.said) for ledger in ledgers), "messages")
    row("delivered", sum(ledger.delivered for ledger in ledgers), "messages")
    row("answered with an error", len(answers_s), "messages")
    row("delivered and answered: in doubt", len(doubts), "messages", goal=0)
    row("an older master heard after a newer one", len(older), "messages", goal=0)
    row("slowest error to a sender", max(answers_s, default=0.0), goal=2.0)
    row("unaccounted", len(lost), "messages", goal=0)
    row("slowest node from SIGTERM to its end", max(took_s), goal=DRAIN_S + 2.0)
    row("slowest client back", max(seconds for party in parties for seconds in party.returned_s))
    assert lost == []
    for ledger in ledgers:
        ledger.check()
    assert set(ends) == {(1001, "this node is going away")}
    assert len(ends) >= 2 * len(parties), "each node sent its clients away, twice"
    assert all(DOUBT in answer for answer in doubts)
    assert max(older, default=0) < MOMENT
