"""What the relay does for clients that come over TCP, on real sockets of this machine."""

import asyncio
import contextlib
import socket

import pytest

from media.turn import stun
from media.turn.admission import StreamBounds
from tests.media.relay.loopback import Client, Running, StreamClient, peer_socket, received, serving
from tests.media.turn.world import address_of, code_of


def server_of(running: Running) -> tuple[str, int]:
    return "127.0.0.1", running.address.port


async def until_port_is_free(address: tuple[str, int]) -> None:
    """Wait until nobody has the relayed address: its allocation is over."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(address)
            except OSError:
                await asyncio.sleep(0)
            else:
                return


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_binding_is_answered(host: str) -> None:
    async with serving(more_hosts=("::1",)) as running:
        with StreamClient((host, running.address.port)) as client:
            reply = await client.request(stun.BINDING, [])
            assert address_of(reply, stun.XOR_MAPPED_ADDRESS) == client.socket.getsockname()[:2]


async def test_burst_arrives_whole_and_in_order_both_ways() -> None:
    async with serving() as running:
        with StreamClient(server_of(running)) as client, peer_socket("127.0.0.1") as peer:
            relayed = await client.allocated()
            assert await client.bind(0x4000, peer.getsockname()) == 0
            for start in range(0, 200, 50):
                sent = [count.to_bytes(2) * (601 if count % 7 else 3) for count in range(start, start + 50)]
                for data in sent:
                    client.send_channel(0x4000, data)
                assert [(await received(peer))[0] for _ in sent] == sent
                for data in sent:
                    peer.sendto(data, relayed)
                assert [(await client.receive())[4:] for _ in sent] == sent


async def test_clients_of_both_transports_talk_relay_to_relay() -> None:
    async with serving() as running:
        server = server_of(running)
        with StreamClient(server) as one, Client(server) as two:
            first, second = await one.allocated(), await two.allocated()
            assert running.relay.transports() == {"udp": 1, "tcp": 1, "tls": 0, "dtls": 0}
            assert await one.bind(0x4000, second) == 0
            assert await two.bind(0x4001, first) == 0
            for data in (b"1", b"22", b"333", b"4444"):
                one.send_channel(0x4000, data)
                assert (await two.receive())[4:] == data
                two.send_channel(0x4001, data)
                assert (await one.receive())[4:] == data


async def test_allocation_ends_with_its_connection() -> None:
    async with serving() as running:
        with StreamClient(server_of(running)) as client:
            relayed = await client.allocated()
        await until_port_is_free(relayed)
        assert running.relay.stats.allocations == 0
        assert running.relay.stats.connections == {"tcp": 0}


async def test_client_that_lost_its_allocation_is_a_stranger_again() -> None:
    async with serving(stream_bounds=StreamBounds(unauthenticated=1)) as running:
        server = server_of(running)
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(StreamClient(server))
            await client.allocated()
            stranger = stack.enter_context(StreamClient(server, "nobody"))
            assert code_of(await stranger.request(stun.BINDING, [])) == 0
            newcomer = stack.enter_context(StreamClient(server))
            assert await stranger.receive() == b""
            assert code_of(await client.request(stun.REFRESH, [])) == 0
            assert code_of(await client.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0
            stack.enter_context(StreamClient(server))
            assert await newcomer.receive() == b""
            assert running.relay.stats.connections_refused["crowded"] == 2


@pytest.mark.slow
async def test_silent_connection_is_closed_by_the_timer() -> None:
    async with serving(stream_bounds=StreamBounds(handshake_s=0.1)) as running:
        with StreamClient(server_of(running)) as client:
            assert await client.receive() == b""
        assert running.relay.stats.connections_refused == {"timeout": 1}


async def test_drain_tells_clients_on_streams_and_ends_with_the_last() -> None:
    async with serving(drain_s=10.0) as running:
        with StreamClient(server_of(running)) as old, StreamClient(server_of(running)) as new:
            await old.allocated()
            running.stopping.set()
            await asyncio.sleep(0)
            assert code_of(await new.allocate()) == 508
            assert not running.ended.is_set()
            old.socket.close()
            await running.ended.wait()
            assert await new.receive() == b""


async def test_without_tcp_nobody_listens() -> None:
    async with serving(has_tcp=False) as running:
        with pytest.raises(ConnectionRefusedError):
            StreamClient(server_of(running))
