"""A relay that serves on real sockets of this machine, and clients and peers that speak to it."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from media.relay.relay import Relay, RelayAddress
from media.relay.relay_settings import RelaySettings
from media.turn import channel_data, stun
from media.turn.address import SocketAddress, pack
from media.turn.credential import Keys
from media.turn.framing import cut
from tests.media.turn.world import PASSWORD, UDP, address_of, code_of

HOLDER = b"who fetched the credentials"
SETTINGS = RelaySettings(port=0, min_port=45000, max_port=45399)


def key_for(username: str) -> Keys | None:
    if username == "bug":
        raise RuntimeError("told so")
    return Keys((PASSWORD,), username.encode(), 1e12, (HOLDER,))


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
        return stun.decode(await self.ask(stun.encode(message, self.key if self.nonce else None)))

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return what comes."""
        self.socket.send(request)
        return await self.receive()

    async def allocate(self, *attributes: tuple[int, bytes]) -> stun.Message:
        wanted = [(stun.REQUESTED_TRANSPORT, UDP), *attributes]
        if not self.nonce:
            self.nonce = (await self.request(stun.ALLOCATE, wanted)).first(stun.NONCE) or b""
        return await self.request(stun.ALLOCATE, wanted)

    async def allocated(self, *attributes: tuple[int, bytes]) -> tuple[str, int]:
        reply = await self.allocate(*attributes)
        assert code_of(reply) == 0, code_of(reply)
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


class StreamClient(Client):
    """A TURN client over TCP."""

    def __init__(self, server: tuple[str, int], username: str = "user") -> None:
        self.socket = socket.create_connection(server)
        self.socket.setblocking(False)
        self.username = username
        self.key = stun.integrity_key(username, SETTINGS.realm, PASSWORD)
        self.nonce = b""
        self.count = 0
        self.came = b""

    async def receive(self) -> bytes:
        """Return the next message, empty when the server closed."""
        while True:
            messages, _ = cut(memoryview(self.came))
            if messages:
                message = bytes(messages[0])
                self.came = self.came[len(message) + (-len(message) & 3) :]
                return message
            data = await super().receive()
            if not data:
                return b""
            self.came += data

    def send_channel(self, number: int, data: bytes) -> None:
        self.socket.send(channel_data.header(number, len(data)) + data + bytes(-len(data) & 3))


@contextlib.contextmanager
def peer_socket(host: str):  # type: ignore[no-untyped-def]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as handle:
        handle.setblocking(False)
        handle.bind((host, 0))
        yield handle


async def received(handle: socket.socket) -> tuple[bytes, SocketAddress]:
    return await asyncio.get_running_loop().sock_recvfrom(handle, 65536)


def offer(monkeypatch: pytest.MonkeyPatch, ports: Iterator[int]) -> None:
    """Have the system offer these as free ports, then any."""

    class Offered(socket.socket):
        def bind(self, address: tuple[str, int]) -> None:
            super().bind((address[0], address[1] or next(ports, 0)))

    monkeypatch.setattr(socket, "socket", Offered)


def open_descriptors() -> int:
    """How many this process has, of those that earlier tests left to the collector none."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))
