"""The proxy that other tests rely on breaks connections in the ways that it says."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from tests.fault_proxy import FaultProxy, fault_proxy

SOON_S = 0.02


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, fault_proxy(*server.sockets[0].getsockname()) as made:
        yield made


class Client:
    """A connection through the proxy that says what comes back."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle

    async def ask(self, words: bytes) -> bytes:
        await asyncio.get_running_loop().sock_sendall(self.handle, words)
        return await self.read()

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.handle, 65_536)

    async def is_silent(self) -> bool:
        try:
            async with asyncio.timeout(SOON_S):
                await self.read()
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    with socket.socket() as handle:
        handle.setblocking(False)
        await asyncio.get_running_loop().sock_connect(handle, (proxy.host, proxy.port))
        yield Client(handle)


async def test_passes_bytes_both_ways_and_the_end(proxy: FaultProxy, client: Client) -> None:
    assert await client.ask(b"hello") == b"hello"
    assert proxy.connections == 1

    client.handle.shutdown(socket.SHUT_WR)

    assert await client.read() == b""


async def test_a_pause_loses_nothing(proxy: FaultProxy, client: Client) -> None:
    proxy.pause()
    await asyncio.get_running_loop().sock_sendall(client.handle, b"hello")
    assert await client.is_silent()

    proxy.pass_on()

    assert await client.read() == b"hello"


async def test_a_cut_is_an_end_and_a_reset_an_error(proxy: FaultProxy, client: Client) -> None:
    assert await client.ask(b"a") == b"a"
    proxy.cut()
    assert await client.read() == b""

    with socket.create_connection((proxy.host, proxy.port)) as again:
        again.setblocking(False)
        assert await Client(again).ask(b"b") == b"b"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await Client(again).read()


async def test_half_open_swallows_for_good(proxy: FaultProxy, client: Client) -> None:
    assert await client.ask(b"a") == b"a"
    proxy.half_open()
    await asyncio.get_running_loop().sock_sendall(client.handle, b"lost")
    assert await client.is_silent()

    proxy.pass_on()
    await asyncio.get_running_loop().sock_sendall(client.handle, b"late")

    assert await client.is_silent()


async def test_cut_after_splits_a_chunk(proxy: FaultProxy, client: Client) -> None:
    proxy.cut_after(5 + 2)

    assert await client.ask(b"hello") == b"he"
    assert await client.read() == b""


async def test_refused_until_allowed(proxy: FaultProxy, client: Client) -> None:
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, proxy.port)
    assert await client.ask(b"open ones stay") == b"open ones stay"

    proxy.allow()

    _, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.close()


async def test_slow_by_delay_and_by_bandwidth(proxy: FaultProxy, client: Client) -> None:
    now = asyncio.get_running_loop().time
    proxy.delay(0.01)
    started = now()
    assert await client.ask(b"a") == b"a"
    assert now() - started >= 0.02

    proxy.pass_on()
    proxy.bandwidth(10_000)
    await asyncio.get_running_loop().sock_sendall(client.handle, bytes(1_000))
    started, left = now(), 1_000
    while left:
        left -= len(await client.read())
    assert now() - started >= 0.03
