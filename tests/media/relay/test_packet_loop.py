"""Packets and everything else on one event loop."""

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from media.relay import packet_loop
from media.relay.packet_loop import PacketLoop
from media.relay.readiness import Readiness
from media.relay.udp import open_socket


def run(work: Callable[[PacketLoop], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, PacketLoop)
        runner.run(asyncio.wait_for(work(loop), 15))


def test_packets_streams_timers_and_threads_are_all_served() -> None:
    async def work(loop: PacketLoop) -> None:
        watched, heard = Readiness(loop), asyncio.Queue[bytes]()
        one, two = socket.socketpair()
        with open_socket("127.0.0.1", 0) as handle, one, two:
            two.setblocking(False)
            watched.add(handle, lambda _: heard.put_nowait(handle.recv(100)))
            for number in range(3):
                handle.sendto(b"packet %d" % number, handle.getsockname())
                one.send(b"stream")
                assert await loop.sock_recv(two, 100) == b"stream"
                assert await heard.get() == b"packet %d" % number
                await asyncio.sleep(0.001)
                assert await asyncio.to_thread(int, "7") == 7
            watched.close()

    run(work)


def test_bug_that_a_packet_meets_is_told_and_the_loop_lives() -> None:
    async def work(loop: PacketLoop) -> None:
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        watched, heard = Readiness(loop), asyncio.Queue[bytes]()

        def drain(_: float) -> None:
            packet = handle.recv(100)
            heard.put_nowait(packet)
            if packet == b"bug":
                raise ZeroDivisionError

        with open_socket("127.0.0.1", 0) as handle:
            watched.add(handle, drain)
            for packet in (b"bug", b"next"):
                handle.sendto(packet, handle.getsockname())
                assert await heard.get() == packet
            watched.close()
        assert [type(context["exception"]) for context in told] == [ZeroDivisionError]

    run(work)


def test_closed_readiness_leaves_nothing_behind_and_the_loop_goes_on() -> None:
    async def work(loop: PacketLoop) -> None:
        with open_socket("127.0.0.1", 0) as handle:
            first = Readiness(loop)
            first.add(handle, lambda _: pytest.fail("it was closed"))
            first.remove(handle)
            first.add(handle, lambda _: pytest.fail("it was closed"))
            first.close()
            first.close()
            handle.sendto(b"x", handle.getsockname())
            second, heard = Readiness(loop), asyncio.Queue[bytes]()
            second.add(handle, lambda _: heard.put_nowait(handle.recv(100)))
            assert await heard.get() == b"x"
            second.close()

    run(work)


def test_writers_that_change_their_mind_are_heard_of_asyncio() -> None:
    async def work(loop: PacketLoop) -> None:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1 << 20)
            writer.close()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(1 << 20))
        assert await reader.read() == b""
        writer.close()
        server.close()

    run(work)


def test_without_epoll_the_usual_loop_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    loop = packet_loop.new_event_loop()
    loop.close()
    assert not isinstance(loop, PacketLoop)
