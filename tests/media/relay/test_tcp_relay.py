"""Bytes between clients and peers over TCP (RFC 6062), on real sockets of this machine."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from media.relay.tcp_relay import MOST_WAITING_BYTES
from media.turn import stun
from media.turn.admission import StreamBounds
from tests.media.relay.loopback import Running, StreamClient, open_descriptors, serving
from tests.media.turn.world import address_of, code_of

TCP = (stun.REQUESTED_TRANSPORT, bytes((6, 0, 0, 0)))
Address = tuple[str, int]


class TcpClient(StreamClient):
    """A client with its control connection; `joined` opens the second one."""

    def __init__(self, running: Running) -> None:
        super().__init__(("127.0.0.1", running.address.port))

    async def allocated(self, *attributes: tuple[int, bytes]) -> Address:
        self.nonce = (await self.request(stun.ALLOCATE, [TCP])).first(stun.NONCE) or b""
        reply = await self.request(stun.ALLOCATE, [TCP, *attributes])
        assert code_of(reply) == 0
        return address_of(reply, stun.XOR_RELAYED_ADDRESS)

    async def connect(self, peer_address: Address) -> stun.Message:
        return await self.request(stun.CONNECT, [self.peer(peer_address)])

    async def joined(self, connection: bytes) -> socket.socket:
        """Bind the connection to a second one; return that. What came with the answer is in `early`."""
        second = StreamClient(self.socket.getpeername())
        second.nonce = self.nonce
        assert code_of(await second.request(stun.CONNECTION_BIND, [(stun.CONNECTION_ID, connection)])) == 0
        self.early = second.came
        return second.socket


class TcpPeer:
    """A peer that listens on loopback."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address: Address = self.listener.getsockname()

    async def accepted(self) -> socket.socket:
        handle, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        return handle


@contextlib.asynccontextmanager
async def both_ends(**changes: object) -> AsyncIterator[tuple[Running, TcpClient, socket.socket, socket.socket]]:
    """A relay, a client, its second connection, and the peer's end of it."""
    async with serving(has_tcp_relays=True, **changes) as running:
        with TcpClient(running) as client, contextlib.ExitStack() as stack:
            peer = TcpPeer()
            stack.enter_context(peer.listener)
            await client.allocated()
            connection = (await client.connect(peer.address)).first(stun.CONNECTION_ID)
            assert connection is not None
            far = stack.enter_context(await peer.accepted())
            yield running, client, stack.enter_context(await client.joined(connection)), far


async def sent(handle: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(handle, data)


async def got(handle: socket.socket, size: int) -> bytes:
    """Return `size` bytes, or less when the other end closes."""
    data = bytearray()
    while len(data) < size:
        try:
            piece = await asyncio.get_running_loop().sock_recv(handle, size - len(data))
        except ConnectionResetError:
            break
        if not piece:
            break
        data += piece
    return bytes(data)


async def test_bytes_pass_as_they_are_both_ways() -> None:
    async with both_ends() as (running, _, near, far):
        await sent(near, b"GET / HTTP/1.1\r\n\r\n")
        assert await got(far, 18) == b"GET / HTTP/1.1\r\n\r\n"
        await sent(far, b"\x16\x03")
        assert await got(near, 2) == b"\x16\x03"
        assert (running.relay.stats.bytes_to_peers, running.relay.stats.bytes_to_clients) == (18, 2)


async def test_peer_is_reached_from_the_relayed_address() -> None:
    async with serving(has_tcp_relays=True) as running:
        with TcpClient(running) as client:
            relayed = await client.allocated()
            peer = TcpPeer()
            with peer.listener:
                assert code_of(await client.connect(peer.address)) == 0
                with await peer.accepted() as far:
                    assert far.getpeername()[1] == relayed[1]


@pytest.mark.slow
@pytest.mark.parametrize("is_up", [True, False])
async def test_much_arrives_whole_though_the_other_end_is_slow(is_up: bool) -> None:
    data = bytes(range(256)) * (1 << 16)
    bounds = StreamBounds(write_buffer_bytes=1000)
    async with both_ends(bitrate_bps=0, stream_bounds=bounds) as (running, _, near, far):
        stats = running.relay.stats
        source, sink = (near, far) if is_up else (far, near)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(sent(source, data))
            before = -1
            while (passed := stats.bytes_to_peers + stats.bytes_to_clients) != before:
                before = passed
                for _ in range(200):  # no event tells that nothing moves any more
                    await asyncio.sleep(0)
            assert passed < len(data)
            for connection in running.relay._hall.connections.values():
                assert connection.unsent_bytes <= 2 * MOST_WAITING_BYTES
            assert await got(sink, len(data)) == data
            await sending


@pytest.mark.slow
async def test_bitrate_is_kept_and_nothing_is_lost() -> None:
    async with both_ends(bitrate_bps=800_000) as (_, _, near, far):
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(sent(near, bytes(130_000)))
            assert len(await got(far, 130_000)) == 130_000
        assert asyncio.get_running_loop().time() - begun >= 0.1


async def test_end_of_either_half_ends_the_other_after_all_is_passed_on() -> None:
    async with both_ends() as (_, _, near, far):
        await sent(near, b"last words")
        near.shutdown(socket.SHUT_WR)
        assert await got(far, 100) == b"last words"
    async with both_ends() as (_, _, near, far):
        await sent(far, b"last words")
        far.close()
        assert await got(near, 100) == b"last words"


async def test_allocation_that_ends_takes_its_connections_with_it() -> None:
    async with both_ends() as (running, client, near, far):
        assert code_of(await client.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0
        assert await got(near, 1) == await got(far, 1) == b""
    async with both_ends() as (running, client, near, far):
        client.socket.close()
        assert await got(near, 1) == await got(far, 1) == b""
    async with both_ends() as (running, client, near, far):
        running.relay.revoke(b"user")
        assert await got(near, 1) == await got(far, 1) == b""


async def test_peer_that_refuses_is_447() -> None:
    async with serving(has_tcp_relays=True) as running:
        with TcpClient(running) as client:
            await client.allocated()
            peer = TcpPeer()
            peer.listener.close()
            assert code_of(await client.connect(peer.address)) == 447
            assert code_of(await client.connect(peer.address)) == 447


async def test_peer_with_a_permission_is_announced_and_others_are_closed() -> None:
    async with serving(has_tcp_relays=True) as running:
        with TcpClient(running) as client:
            relayed = await client.allocated()
            with socket.create_connection(relayed) as stranger:
                stranger.setblocking(False)
                assert await got(stranger, 1) == b""
            assert await client.permit(relayed[0]) == 0
            with socket.create_connection(relayed, source_address=(relayed[0], 0)) as far:
                far.setblocking(False)
                told = stun.decode(await client.receive())
                assert told.method == stun.CONNECTION_ATTEMPT
                await sent(far, b"early")
                with await client.joined(told.first(stun.CONNECTION_ID) or b"") as near:
                    assert client.early + await got(near, 5 - len(client.early)) == b"early"
                    await sent(near, b"answer")
                    assert await got(far, 6) == b"answer"


async def test_client_that_sends_on_before_it_is_answered_is_closed() -> None:
    async with serving(has_tcp_relays=True) as running:
        with TcpClient(running) as client:
            await client.allocated()
            peer = TcpPeer()
            with peer.listener:
                connection = (await client.connect(peer.address)).first(stun.CONNECTION_ID)
                assert connection is not None
                second = StreamClient(client.socket.getpeername())
                with second, await peer.accepted() as far:
                    message = stun.Message(stun.CONNECTION_BIND, stun.REQUEST, bytes(12), [])
                    message.attributes = [
                        (stun.CONNECTION_ID, connection),
                        (stun.USERNAME, b"user"),
                        (stun.REALM, b"heliograph"),
                        (stun.NONCE, client.nonce),
                    ]
                    await sent(second.socket, stun.encode(message, client.key) + b"hasty")
                    assert await got(far, 5) == b""
        assert running.relay.stats.connections_refused == {"malformed": 1}


async def test_stop_leaves_no_socket_behind() -> None:
    before = open_descriptors()
    async with both_ends() as (_, _, near, far):
        await sent(near, b"up")
        await got(far, 2)
    assert open_descriptors() == before
