"""The relay on real sockets of this machine."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from media.turn import channel_data, stun
from media.turn.address import SocketAddress, host_text, pack
from media.turn.credential import Keys
from media.turn.interfaces import detect, read_interfaces
from media.turn.placement import PlacementError
from media.turn.relay import Relay, RelayAddress, RelaySettings
from tests.media.turn.world import PASSWORD, UDP, address_of, code_of

SETTINGS = RelaySettings(port=0, min_port=45000, max_port=45399)
V6 = (stun.REQUESTED_ADDRESS_FAMILY, b"\2\0\0\0")


def key_for(username: str) -> Keys | None:
    if username == "bug":
        raise RuntimeError("told so")
    return Keys((PASSWORD,), username.encode(), 1e12)


class Running:
    """A relay that serves, and how to stop it."""

    def __init__(self, settings: RelaySettings) -> None:
        self.relay = Relay(settings, key_for)
        self.stopping = asyncio.Event()
        self.ended = asyncio.Event()
        self.is_ready = asyncio.Event()
        self.address = RelayAddress("", 0)

    async def run(self) -> None:
        await self.relay.run(self.on_ready, self.stopping)
        self.ended.set()

    def on_ready(self, address: RelayAddress) -> None:
        self.address = address
        self.is_ready.set()


@contextlib.asynccontextmanager
async def serving(**changes: object) -> AsyncIterator[Running]:
    running = Running(msgspec.structs.replace(SETTINGS, **changes))
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(running.run())
        await running.is_ready.wait()
        yield running
        running.stopping.set()
        await running.ended.wait()


class Client:
    """A TURN client on a real socket, good for one test."""

    def __init__(self, server: tuple[str, int], bind_host: str = "", username: str = "user") -> None:
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((bind_host, 0))
        self.socket.connect(server)
        self.username = username
        self.key = stun.integrity_key(username, SETTINGS.realm, PASSWORD)
        self.nonce = b""
        self.count = 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.socket, 65536)

    async def request(self, method: int, attributes: list[tuple[int, bytes]]) -> stun.Message:
        self.count += 1
        message = stun.Message(method, stun.REQUEST, self.count.to_bytes(12), list(attributes))
        if self.nonce:
            realm = SETTINGS.realm.encode()
            message.attributes += [
                (stun.USERNAME, self.username.encode()),
                (stun.REALM, realm),
                (stun.NONCE, self.nonce),
            ]
        self.socket.send(stun.encode(message, self.key if self.nonce else None))
        return stun.decode(await self.receive())

    async def allocate(self, *attributes: tuple[int, bytes]) -> stun.Message:
        wanted = [(stun.REQUESTED_TRANSPORT, UDP), *attributes]
        if not self.nonce:
            self.nonce = (await self.request(stun.ALLOCATE, wanted)).first(stun.NONCE) or b""
        return await self.request(stun.ALLOCATE, wanted)

    async def allocated(self, *attributes: tuple[int, bytes]) -> tuple[str, int]:
        reply = await self.allocate(*attributes)
        assert code_of(reply) == 0
        return address_of(reply, stun.XOR_RELAYED_ADDRESS)

    async def permit(self, host: str) -> int:
        return code_of(await self.request(stun.CREATE_PERMISSION, [self.peer((host, 0))]))

    async def bind(self, number: int, peer_address: SocketAddress) -> int:
        numbers = (stun.CHANNEL_NUMBER, number.to_bytes(2) + bytes(2))
        return code_of(await self.request(stun.CHANNEL_BIND, [numbers, self.peer(peer_address)]))

    def peer(self, peer_address: SocketAddress) -> tuple[int, bytes]:
        transaction_id = (self.count + 1).to_bytes(12)
        return stun.XOR_PEER_ADDRESS, stun.xor_address(pack(peer_address[0]), peer_address[1], transaction_id)

    def send_channel(self, number: int, data: bytes) -> None:
        self.socket.send(channel_data.header(number, len(data)) + data)


@contextlib.contextmanager
def peer_socket(host: str):  # type: ignore[no-untyped-def]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as handle:
        handle.setblocking(False)
        handle.bind((host, 0))
        yield handle


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def received(handle: socket.socket) -> tuple[bytes, SocketAddress]:
    return await asyncio.get_running_loop().sock_recvfrom(handle, 65536)


async def test_binding_is_answered() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            reply = await client.request(stun.BINDING, [])
            assert address_of(reply, stun.XOR_MAPPED_ADDRESS) == client.socket.getsockname()
    assert running.relay.stats.bindings_total == 1


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


async def test_wildcard_server_answers_from_the_address_that_was_asked() -> None:
    if detect(socket.AF_INET) is None:
        pytest.skip("this machine has no IPv4 route")
    async with serving(host="0.0.0.0") as running:
        for ip in read_interfaces().addresses:
            if len(ip) == 4:
                with Client((host_text(ip), running.address.port)) as client:
                    assert code_of(await client.request(stun.BINDING, [])) == 0


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


async def test_freed_and_revoked_relays_close_their_sockets() -> None:
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server, username="one") as one, Client(server, username="two") as two:
            first, second = await one.allocated(), await two.allocated()
            assert code_of(await one.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0
            running.relay.revoke(b"two")
            for host, port in (first, second):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind((host, port))
            assert code_of(await two.request(stun.REFRESH, [])) == 401
            assert running.relay.stats.allocations == 0


@pytest.mark.slow
async def test_timer_ends_an_allocation_by_itself() -> None:
    async with serving(max_lifetime_s=1) as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            host, port = await client.allocated()
            await asyncio.sleep(2.5)
            assert running.relay.stats.allocations == 0
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))


async def test_stop_leaves_no_socket_behind() -> None:
    before = open_descriptors()
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
    assert open_descriptors() == before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", running.address.port))


async def test_drain_refuses_new_allocations_and_ends_with_the_last_old_one() -> None:
    async with serving(drain_s=10.0) as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as old, Client(server) as new:
            await old.allocated()
            running.stopping.set()
            await asyncio.sleep(0)
            assert code_of(await new.allocate()) == 508
            assert code_of(await old.request(stun.REFRESH, [])) == 0
            assert not running.ended.is_set()
            await old.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])
            await running.ended.wait()


async def test_drain_ends_when_its_time_is_over() -> None:
    async with serving(drain_s=0.05) as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            running.stopping.set()
            await running.ended.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_taken_port_is_told(host: str) -> None:
    if host == "0.0.0.0" and detect(socket.AF_INET) is None:
        pytest.skip("this machine has no IPv4 route")
    async with serving(host=host) as running:
        again = Relay(msgspec.structs.replace(SETTINGS, host=host, port=running.address.port), key_for)
        with pytest.raises(OSError, match="in use"):
            await again.run(lambda address: None, asyncio.Event())


async def test_relay_port_that_somebody_has_is_passed_over() -> None:
    async with serving(min_port=45400, max_port=45401) as running:
        with Client(("127.0.0.1", running.address.port)) as client, socket.socket(type=socket.SOCK_DGRAM) as somebody:
            somebody.bind(("0.0.0.0", 45400))
            assert (await client.allocated())[1] == 45401


async def test_settings_that_do_not_fit_are_named() -> None:
    relay = Relay(msgspec.structs.replace(SETTINGS, advertised_address="8.8.8.8"), key_for)
    with pytest.raises(PlacementError, match="advertised_address"):
        await relay.run(lambda address: None, asyncio.Event())


async def test_looking_around_keeps_what_there_is() -> None:
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            relayed = await client.allocated()
            running.relay._look_around(read_interfaces())
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


async def test_refused_peer_is_logged_once_with_its_reason_and_no_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="media.turn")
    async with serving() as running:
        with Client(("127.0.0.1", running.address.port)) as client:
            await client.allocated()
            for host in ("8.8.8.8", "9.9.9.9"):
                assert await client.permit(host) == 403
    logged = [vars(record) for record in caplog.records if record.name == "media.turn.relay"]
    assert [(each["levelname"], each["msg"], each["reason"]) for each in logged] == [
        ("INFO", "peer refused", "not-own-address")
    ]
    assert "8.8.8.8" not in str(logged)
