"""Several TURN processes on the same ports, with real processes and real clients."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from app.data_folder import read_turn_secrets
from app.processes import MENTIONED_BYTES
from app.settings import Settings
from app.wiring.orders import Minted, Revoked, TurnOrder
from app.wiring.turn import TurnServer
from app.wiring.turn_workers import Workers, _bound_port, make_server
from channels import ice
from channels.names import ChannelArn
from media.relay.interfaces import detect
from media.turn import stun
from tests.media.relay.loopback import Client, offer
from tests.media.turn.world import code_of
from tests.running import Started, ends_within, started

ARN = ChannelArn("aws", "us-west-2", "000000000000", "demo", 1)
FIRST, LAST = 47100, 47199
HALF = 47150  # first relay port of the second worker
WORDS = ("--turn-workers", "2", "--turn-min-port", str(FIRST), "--turn-max-port", str(LAST))


async def end(client: Client) -> None:
    assert code_of(await client.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0


class Served:
    """A `heliograph turn` with two workers, and clients of it."""

    def __init__(self, turn: Started, secret: bytes, stack: contextlib.ExitStack) -> None:
        self.turn = turn
        self._secret = secret
        self._stack = stack
        self.port = int(re.findall(r":([0-9]+)\?", turn.ready["turn"])[0])

    def client(self) -> Client:
        username, password = ice.mint(self._secret, ARN, None, time.time())
        client = self._stack.enter_context(Client(("127.0.0.1", self.port), username=username))
        client.key = stun.integrity_key(username, "heliograph", password)
        return client

    async def on_both(self) -> list[tuple[Client, tuple[str, int]]]:
        """A client with an allocation on each worker, and the relayed addresses."""
        found: dict[bool, tuple[Client, tuple[str, int]]] = {}
        for _ in range(40):
            client = self.client()
            relayed = await client.allocated()
            assert FIRST <= relayed[1] <= LAST
            if found.setdefault(relayed[1] >= HALF, (client, relayed))[0] is not client:
                await end(client)
            if len(found) == 2:
                return [found[False], found[True]]
        raise AssertionError("all clients came to one worker")

    async def is_draining(self) -> None:
        async with asyncio.timeout(15):
            while code_of(await (client := self.client()).allocate()) != 508:
                await end(client)

    def workers(self) -> list[int]:
        pid = self.turn.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    words = ("turn", "--data-dir", str(tmp_path / "data"), "--turn-drain-s", "30", *WORDS)
    with started(*words, ports=("--turn-port", "0")) as turn, contextlib.ExitStack() as stack:
        yield Served(turn, read_turn_secrets(tmp_path / "data")[-1], stack)
        turn.process.kill()  # it would wait for the allocations that are left


@pytest.mark.slow
async def test_clients_come_to_both_and_reach_each_other(served: Served) -> None:
    (one, there), (two, here) = await served.on_both()
    assert await one.bind(0x4001, here) == 0
    assert await two.bind(0x4002, there) == 0
    async with asyncio.timeout(15):
        one.send_channel(0x4001, b"over the kernel")
        assert (await two.receive())[4:] == b"over the kernel"
        two.send_channel(0x4002, b"and back")
        assert (await one.receive())[4:] == b"and back"


@pytest.mark.slow
async def test_of_the_other_worker_only_live_relays_are_reached(tmp_path: Path) -> None:
    if detect(socket.AF_INET) is None:
        pytest.skip("this machine has no IPv4 route")
    words = ("turn", "--data-dir", str(tmp_path / "data"), "--turn-host", "0.0.0.0", *WORDS)
    with started(*words, ports=("--turn-port", "0")) as turn, contextlib.ExitStack() as stack:
        (one, _), (two, (host, port)) = await Served(turn, read_turn_secrets(tmp_path / "data")[-1], stack).on_both()
        assert await one.bind(0x4001, (host, LAST if port != LAST else LAST - 1)) == 403
        assert await one.bind(0x4002, (host, port)) == 0
        await end(two)
        assert await one.bind(0x4003, (host, port)) == 403


@pytest.mark.slow
async def test_a_stop_lets_allocations_go_on_and_takes_no_new_ones(served: Served) -> None:
    clients = await served.on_both()
    served.turn.process.terminate()
    await served.is_draining()
    for client, _ in clients:
        assert code_of(await client.request(stun.REFRESH, [])) == 0
    for client, _ in clients:
        await end(client)
    assert await asyncio.to_thread(served.turn.process.wait, 25) == 0


@pytest.mark.slow
async def test_a_second_interrupt_ends_the_drain(served: Served) -> None:
    await served.on_both()
    workers = served.workers()
    served.turn.process.send_signal(signal.SIGINT)
    await served.is_draining()
    served.turn.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(served.turn.process.wait, 25) == 0  # a drain takes 30 s
    assert all(ends_within(pid, 30) for pid in workers)


@pytest.mark.slow
async def test_the_end_of_one_worker_is_the_end_of_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as errors:
        words = ("turn", "--data-dir", str(tmp_path / "data"), *WORDS)
        with started(*words, ports=("--turn-port", "0"), stderr=errors) as turn:
            one, other = Served(turn, b"", contextlib.ExitStack()).workers()
            os.kill(other, signal.SIGKILL)
            assert turn.process.wait(60) == 30
            assert ends_within(one, 30)
    assert re.search(r"TURN worker [12] ended by itself \(signal SIGKILL\)", log.read_text())


@pytest.mark.slow
async def test_workers_end_with_who_watches_over_them(served: Served) -> None:
    workers = served.workers()
    served.turn.process.kill()
    assert all(ends_within(pid, 30) for pid in workers)


def test_one_worker_needs_nobody_to_watch_over_it() -> None:
    order = TurnOrder(Settings(turn_port=0), ("s" * 64,))
    assert isinstance(make_server(order, print), TurnServer)


def test_news_reach_every_worker_and_names_may_be_missed() -> None:
    workers = Workers(TurnOrder(Settings(turn_port=0), ("s" * 64,)), 2, print)
    try:
        busy, other = workers._children
        busy._untold += b"x" * MENTIONED_BYTES + b"\n"
        workers.take(msgspec.json.encode(Minted("ann", 1.0)))
        workers.take(msgspec.json.encode(Revoked(channels=("00",))))
        assert [line.partition(b'"')[2] for line in busy._untold.splitlines()[1:]] == [
            b'type":"revoked","channels":["00"]}'
        ]
        assert other._untold.count(b"\n") == 2
    finally:
        for child in workers._children:
            child.abandon()


def test_the_port_that_all_share_is_none_of_the_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(turn_port=0, turn_min_port=FIRST, turn_max_port=LAST)
    offer(monkeypatch, iter((FIRST, LAST)))
    assert not FIRST <= _bound_port(settings) <= LAST


def test_what_the_workers_count_adds_up() -> None:
    workers = Workers(TurnOrder(Settings(turn_port=0), ("s" * 64,)), 2, print)
    try:
        for child, count in zip(workers._children, (1, 2), strict=True):
            child.stats = {"allocations": float(count), f"auth_failures.{count}": 1.0}
            child.usage = {"both": (count, 10, 20), f"own {count}": (1, 1, 1)}
        assert workers.counters() == {"allocations": 3.0, "auth_failures.1": 1.0, "auth_failures.2": 1.0}
        assert workers.usage() == {"both": (3, 20, 40), "own 1": (1, 1, 1), "own 2": (1, 1, 1)}
        workers._children[1]._heard_at -= 60
        assert (workers.counters(), workers.usage()) == (None, {}), "one that hangs is seen above"
    finally:
        for child in workers._children:
            child.abandon()
