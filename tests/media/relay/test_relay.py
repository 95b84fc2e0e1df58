"""What the relay passes on, on real sockets of this machine."""

import asyncio
import socket

import pytest

from media.relay.interfaces import detect, read_interfaces
from media.relay.relay_settings import every_port
from media.turn import stun
from media.turn.address import host_text
from tests.media.relay.loopback import HOLDER, SETTINGS, Client, offer, peer_socket, received, serving
from tests.media.turn.world import UDP, address_of, code_of

V6 = (stun.REQUESTED_ADDRESS_FAMILY, b"\2\0\0\0")


async def test_binding_is_answered() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            reply = await client.request(stun.BINDING, [])
            assert address_of(reply, stun.XOR_MAPPED_ADDRESS) == client.socket.getsockname()
    assert running.relay.stats.bindings_total == 1


async def test_any_free_port_is_none_of_the_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, iter((SETTINGS.min_port, SETTINGS.max_port)))
    async with serving() as running:
        assert running.address.port not in every_port(SETTINGS)


@pytest.mark.parametrize("host", sorted(host_text(ip) for ip in read_interfaces().addresses if len(ip) == 4))
async def test_peer_on_any_own_address_is_reached_and_answers(host: str) -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client, peer_socket(host) as peer:
            relayed = await client.allocated()
            assert await client.bind(0x4000, peer.getsockname()) == 0
            client.send_channel(0x4000, b"up")
            data, source = await received(peer)
            assert (data, source[1]) == (b"up", relayed[1])
            peer.sendto(b"down", relayed)
            assert await client.receive() == b"\x40\x00\x00\x04down"


async def test_peer_that_listens_on_every_address_answers_from_the_permitted_one() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client, peer_socket("0.0.0.0") as peer:
            relayed = await client.allocated()
            assert await client.bind(0x4000, (relayed[0], peer.getsockname()[1])) == 0
            peer.sendto(b"down", relayed)
            assert await client.receive() == b"\x40\x00\x00\x04down"


async def test_ipv6_client_and_ipv6_peer() -> None:
    async with serving(more_hosts=("::1",)) as running:
        with Client(("::1", running.address.port)) as client, peer_socket("::1") as peer:
            relayed = await client.allocated(V6)
            assert await client.bind(0x4000, peer.getsockname()) == 0
            client.send_channel(0x4000, b"up")
            assert (await received(peer))[0] == b"up"
            peer.sendto(b"down", relayed)
            assert await client.receive() == b"\x40\x00\x00\x04down"


async def test_burst_arrives_whole_and_in_order_both_ways() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client, peer_socket("127.0.0.1") as peer:
            relayed = await client.allocated()
            await client.bind(0x4000, peer.getsockname())
            for start in range(0, 200, 50):
                sent = [count.to_bytes(2) * (600 if count % 7 else 3) for count in range(start, start + 50)]
                for data in sent:
                    client.send_channel(0x4000, data)
                assert [(await received(peer))[0] for _ in sent] == sent
                for data in sent:
                    peer.sendto(data, relayed)
                assert [(await client.receive())[4:] for _ in sent] == sent


async def test_holder_that_is_revoked_loses_its_allocation() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            (usage,) = running.relay.usage().values()
            assert usage.allocations == 1
            running.relay.revoke_holder(HOLDER)
            assert code_of(await client.request(stun.REFRESH, [])) == 401
            assert usage.allocations == 0


async def test_relay_to_relay() -> None:
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as one, Client(server) as two:
            first, second = await one.allocated(), await two.allocated()
            assert await one.bind(0x4000, second) == 0
            assert await two.bind(0x4001, first) == 0
            one.send_channel(0x4000, b"hello")
            assert await two.receive() == b"\x40\x01\x00\x05hello"
            two.send_channel(0x4001, b"back")
            assert await one.receive() == b"\x40\x00\x00\x04back"


async def test_wildcard_server_answers_from_the_address_that_was_asked() -> None:
    if detect(socket.AF_INET) is None:
        pytest.skip("this machine has no IPv4 route")
    async with serving(host="0.0.0.0") as running:
        for ip in read_interfaces().addresses:
            if len(ip) == 4:
                with Client((host_text(ip), running.address.port)) as client:
                    assert code_of(await client.request(stun.BINDING, [])) == 0


async def test_fault_of_ours_sends_no_packet_late_or_mixed_up() -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as client, Client(server, username="bug") as bug, peer_socket("127.0.0.1") as peer:
            await client.allocated()
            bug.nonce = (await bug.request(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)])).first(stun.NONCE) or b""
            assert await client.bind(0x4000, peer.getsockname()) == 0
            client.send_channel(0x4000, b"first")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await bug.allocate()
            client.send_channel(0x4000, b"later")
            assert [(await received(peer))[0] for _ in range(2)] == [b"first", b"later"]
    assert [str(fault["exception"]) for fault in faults] == ["told so"]
