"""One wake-up for all sockets that can be read."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from media.relay import readiness
from media.relay.drains import Source
from media.relay.readiness import ROUNDS, Readiness
from media.relay.udp import UdpSocket, open_socket


@pytest.mark.parametrize("has_epoll", [True, False])
async def test_sockets_are_drained_until_they_are_removed(has_epoll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_epoll:
        monkeypatch.delattr(readiness.select, "epoll")
    loop = asyncio.get_running_loop()
    watched = Readiness(loop)
    arrived: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    with ExitStack() as stack:
        handles = [stack.enter_context(open_socket("127.0.0.1", 0)) for _ in range(3)]

        def add(number: int, handle: socket.socket) -> None:
            def drain(now: float) -> None:
                assert now <= loop.time()
                arrived.put_nowait((number, handle.recv(100)))

            watched.add(handle, drain)

        for number, handle in enumerate(handles):
            add(number, handle)
        for handle in handles:
            handles[0].sendto(b"x", handle.getsockname())
        async with asyncio.timeout(15):
            assert {await arrived.get() for _ in handles} == {(0, b"x"), (1, b"x"), (2, b"x")}
            watched.remove(handles[1])
            handles[0].sendto(b"unheard", handles[1].getsockname())
            handles[0].sendto(b"heard", handles[2].getsockname())
            assert await arrived.get() == (2, b"heard")
        assert arrived.empty()
        for handle in handles:
            watched.remove(handle)
        watched.close()
        watched.close()


async def test_the_loop_lives_while_a_socket_never_runs_dry() -> None:
    watched = Readiness(asyncio.get_running_loop())
    with open_socket("127.0.0.1", 0) as handle:
        calls = 0

        def drain(_: float) -> None:
            nonlocal calls
            calls += 1

        watched.add(handle, drain)
        handle.sendto(b"never read", handle.getsockname())
        for _ in range(3):
            await asyncio.sleep(0)
        assert 0 < calls <= 3 * ROUNDS
        watched.close()


async def test_socket_that_another_drain_closed_is_left_out() -> None:
    watched = Readiness(asyncio.get_running_loop())
    with open_socket("127.0.0.1", 0) as one, open_socket("127.0.0.1", 0) as two:
        others = {one: two, two: one}
        drained = asyncio.Event()

        def drain_of(handle: socket.socket) -> None:
            def drain(_: float) -> None:
                assert not drained.is_set()
                handle.recv(100)
                watched.remove(others[handle])
                others[handle].close()
                drained.set()

            watched.add(handle, drain)

        for handle in (one, two):
            drain_of(handle)
            handle.sendto(b"x", handle.getsockname())
        async with asyncio.timeout(15):
            await drained.wait()
        watched.close()


@pytest.mark.parametrize("has_epoll", [True, False])
async def test_sockets_that_are_read_together_are_read_by_one_call(
    has_epoll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_epoll:
        monkeypatch.delattr(readiness.select, "epoll")
    loop = asyncio.get_running_loop()
    watched = Readiness(loop)
    rounds: list[list[int]] = []
    arrived: asyncio.Queue[int] = asyncio.Queue()

    def read(sources: Sequence[Source], now: float) -> None:
        assert now <= loop.time()
        rounds.append([source.number for source in sources])
        for source in sources:
            source.udp.handle.recv(100)
            arrived.put_nowait(source.number)

    with ExitStack() as stack:
        handles = [stack.enter_context(open_socket("127.0.0.1", 0)) for _ in range(4)]
        for number, handle in enumerate(handles):
            watched.add_together(Source(number, UdpSocket(handle)), read)
        watched.remove(handles[3])
        for handle in handles:
            handles[0].sendto(b"x", handle.getsockname())
        async with asyncio.timeout(15):
            assert {await arrived.get() for _ in range(3)} == {0, 1, 2}
        assert len(rounds) == (1 if has_epoll else 3)
        for handle in handles:
            watched.remove(handle)
        watched.close()
