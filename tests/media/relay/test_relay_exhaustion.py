"""A relay that has no file descriptor left: it refuses, keeps its rules, and goes on when there are some again."""

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.relay import relay as shell
from media.relay import tcp_relay
from media.relay.interfaces import detect
from media.turn import stun
from tests.media.relay.loopback import Client, StreamClient, peer_socket, received, serving
from tests.media.relay.test_tcp_relay import TcpClient
from tests.media.turn.world import code_of


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open so many more descriptors and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [os.close(each) for each in held])
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        most = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        for _ in range(count):
            os.close(held.pop())
        yield


async def test_allocations_are_refused_while_none_is_left_and_the_others_go_on() -> None:
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as old, Client(server) as new, peer_socket("127.0.0.1") as peer:
            await old.allocated()
            assert await old.bind(0x4000, peer.getsockname()) == 0
            with descriptors_left(0):
                assert code_of(await new.allocate()) == 508
                assert running.relay.stats.refused_allocations == {"no-socket": 1}
                old.send_channel(0x4000, b"kept")
                assert (await received(peer))[0] == b"kept"
            await new.allocated()


@pytest.mark.slow
async def test_connections_wait_without_work_while_none_is_left() -> None:
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with descriptors_left(1), StreamClient(server) as waiting:
            while not running.relay.stats.connections_refused:  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0)
            assert running.relay.stats.connections_refused == {"exhausted": 1}
            began = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - began < 0.1
        with waiting, StreamClient(server) as later:
            await later.allocated()  # within the next tick


@pytest.mark.slow
async def test_peers_of_a_tcp_relay_wait_without_work_while_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "PAUSE_S", 0.5)
    async with serving(has_tcp_relays=True) as running:
        with TcpClient(running) as client:
            relayed = await client.allocated()
            assert await client.permit(relayed[0]) == 0
            with socket.socket() as far:
                far.setblocking(False)
                far.bind((relayed[0], 0))
                with descriptors_left(0):
                    await asyncio.get_running_loop().sock_connect(far, relayed)
                    began = time.process_time()
                    await asyncio.sleep(0.3)
                    assert time.process_time() - began < 0.1
                assert stun.decode(await client.receive()).method == stun.CONNECTION_ATTEMPT


async def test_own_addresses_stay_known_when_they_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shell, "TICK_S", 0.01)
    monkeypatch.setattr(shell, "INTERFACES_S", 0.0)
    ours = detect(socket.AF_INET) or "127.0.0.1"
    async with serving(host="0.0.0.0", advertised_address="198.51.100.7") as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            with descriptors_left(0):
                while "cannot be read" not in caplog.text:  # noqa: ASYNC110  # no event tells of it
                    await asyncio.sleep(0.01)
                assert await client.permit(ours) == 403
            assert running.relay.stats.refused_peers == {"own-address": 1}
