"""Which peers the relay lets a client reach, on real sockets of this machine."""

import logging
import socket
import time

import pytest

from media.relay.interfaces import detect, read_interfaces
from media.turn import stun
from tests.media.relay.loopback import Client, StreamClient, peer_socket, received, serving
from tests.media.turn.world import code_of


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "10.1.2.3", "192.168.1.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"]
)
async def test_loopback_server_lets_nobody_but_this_machine_be_a_peer(host: str) -> None:
    async with serving(allow_peer_cidrs=("10.0.0.0/8",)) as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            assert await client.permit(host) == 403
            assert await client.permit("127.0.0.1") == 0


async def test_open_server_lets_the_world_be_a_peer_but_not_this_machine() -> None:
    ours = detect(socket.AF_INET)
    if ours is None:
        pytest.skip("this machine has no IPv4 route")
    async with serving(host="0.0.0.0") as running:
        assert running.address.host == ours
        with Client((ours, running.address.port)) as client, peer_socket(ours) as peer:
            relayed = await client.allocated()
            assert relayed[0] == ours
            assert [await client.permit(host) for host in ("8.8.8.8", ours, "127.0.0.1", "::1")] == [0, 0, 403, 443]
            assert await client.bind(0x4000, peer.getsockname()) == 403
            assert await client.bind(0x4001, relayed) == 0


async def test_peer_that_refuses_costs_packets_only() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client, peer_socket("127.0.0.1") as peer:
            await client.allocated()
            with peer_socket("127.0.0.1") as closed:
                closed_address = closed.getsockname()
            assert await client.bind(0x4000, closed_address) == 0
            assert await client.bind(0x4001, peer.getsockname()) == 0
            for _ in range(5):
                client.send_channel(0x4000, b"lost")
            client.send_channel(0x4001, b"kept")
            assert (await received(peer))[0] == b"kept"
            assert running.relay.stats.allocations == 1


async def test_unreachable_peer_keeps_the_allocation() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client, peer_socket("127.0.0.1") as peer:
            await client.allocated()
            assert await client.bind(0x4000, ("127.0.0.1", 9)) == 0
            assert await client.bind(0x4001, peer.getsockname()) == 0
            client.send_channel(0x4000, bytes(65000))
            client.send_channel(0x4001, b"kept")
            assert (await received(peer))[0] == b"kept"


async def test_looking_around_keeps_what_there_is() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            relayed = await client.allocated()
            running.relay._settle(read_interfaces())
            assert await client.permit(relayed[0]) == 0
            assert code_of(await client.request(stun.REFRESH, [])) == 0


async def test_listener_on_an_unusual_loopback_address_is_no_peer() -> None:
    async with serving(host="127.0.0.5") as running:
        with Client(("127.0.0.5", running.address.port)) as client:
            await client.allocated()
            assert await client.permit("127.0.0.5") == 0
            peer = client.peer(("127.0.0.5", running.address.port))
            attributes = [peer, (stun.DATA, b"x")]
            transaction_id = (client.count + 1).to_bytes(12)
            client.socket.send(stun.encode(stun.Message(stun.SEND, stun.INDICATION, transaction_id, attributes)))
            assert code_of(await client.request(stun.REFRESH, [])) == 0
            assert running.relay.stats.dropped == {"own-port": 1}


async def test_refused_peer_is_logged_once_with_its_reason_and_no_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="media.relay")
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            for host in ("8.8.8.8", "9.9.9.9"):
                assert await client.permit(host) == 403
    told = [vars(record) for record in caplog.records if record.name == "media.relay.relay"]
    logged = [each for each in told if each["msg"] != "draining"]
    assert [(each["levelname"], each["msg"], each["reason"]) for each in logged] == [
        ("INFO", "peer refused", "not-own-address")
    ]
    assert "8.8.8.8" not in str(told)


async def test_client_that_allocates_again_and_again_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="media.relay")
    begun = time.monotonic()
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            for _ in range(100):
                await client.allocated()
                assert await client.permit("8.8.8.8") == 403
                assert code_of(await client.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0
        assert running.relay.stats.refused_peers == {"not-own-address": 100}
    lines = sum(record.getMessage() == "peer refused" for record in caplog.records)
    assert 20 <= lines <= 20 * (time.monotonic() - begun + 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Client, StreamClient])
async def test_packets_without_data_are_bounded_by_the_bitrate_too(kind: type[Client]) -> None:
    # over TCP each takes four bytes of the client's and 28 of whoever they are sent to
    async with serving(bitrate_bps=800_000) as running:
        with kind(("127.0.0.1", running.address.port)) as client, peer_socket("127.0.0.1") as peer:
            await client.allocated()
            assert await client.bind(0x4000, peer.getsockname()) == 0
            begun = time.monotonic()
            for _ in range(60):
                for _ in range(100):
                    client.send_channel(0x4000, b"")
                assert code_of(await client.request(stun.REFRESH, [])) == 0
            stats = running.relay.stats
            assert 1000 <= stats.packets_to_peers <= 1000 * (time.monotonic() - begun + 2.0)
            assert stats.packets_to_peers + stats.dropped.get("rate", 0) == 6000
