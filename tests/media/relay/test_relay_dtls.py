"""The relay with DTLS clients, on real sockets of this machine."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from media.relay.certificate import CertificatePair
from media.turn import stun
from tests import certificates
from tests.media.relay.dtls_world import DtlsClient, certificate_pair
from tests.media.relay.loopback import Client, peer_socket, received, serving
from tests.media.turn.world import address_of, code_of

HELLO, SERVER_HELLO = 1, 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> CertificatePair:
    return certificate_pair(tmp_path_factory.mktemp("dtls"))


class SecureClient(Client):
    """A TURN client over DTLS. `is_lost` tells which datagrams of the server never arrive."""

    def __init__(self, server: tuple[str, int]) -> None:
        super().__init__(server)
        self.dtls = DtlsClient()
        self.is_lost: Callable[[bytes], bool] = lambda _: False
        self.tells = self.socket
        self.socket = self

    # what the plain client does with its socket
    def send(self, message: bytes) -> None:
        self.tells.send(self.dtls.encrypted(message))

    def close(self) -> None:
        self.tells.close()

    async def receive(self) -> bytes:
        while not self.dtls.received:
            await self.take_one()
        return self.dtls.received.pop(0)

    async def take_one(self) -> None:
        """Take a datagram of the server, or send again what was not answered."""
        loop, datagram = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(self.dtls.connection.DTLSv1_get_timeout()):
                datagram = await loop.sock_recv(self.tells, 65536)
        except TimeoutError:
            self.dtls.connection.DTLSv1_handle_timeout()
        if datagram and self.is_lost(datagram):
            return
        for reply in self.dtls.handed(datagram):
            self.tells.send(reply)

    async def shake_hands(self) -> None:
        self.tells.send(self.dtls.first())
        while not self.dtls.is_open:
            await self.take_one()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_allocation_and_channel_over_dtls(pair: CertificatePair, host: str) -> None:
    async with serving(certificate=pair, more_hosts=("::1",)) as running:
        with SecureClient((host, running.address.port)) as client, peer_socket("127.0.0.1") as peer:
            await client.shake_hands()
            mapped = address_of(await client.request(stun.BINDING, []), stun.XOR_MAPPED_ADDRESS)
            assert mapped == client.tells.getsockname()[:2]
            relayed = await client.allocated()
            assert await client.bind(0x4000, peer.getsockname()) == 0
            for count in range(100):
                client.send_channel(0x4000, count.to_bytes(2) * 500)
                assert (await received(peer))[0] == count.to_bytes(2) * 500
            for start in range(0, 200, 50):
                sent = [count.to_bytes(2) * (500 if count % 7 else 3) for count in range(start, start + 50)]
                for data in sent:
                    peer.sendto(data, relayed)
                assert [(await client.receive())[4:] for _ in sent] == sent
    assert running.relay.stats.connections == {"dtls": 0}


async def test_plain_and_dtls_clients_share_the_port_and_talk_to_each_other(pair: CertificatePair) -> None:
    async with serving(certificate=pair) as running:
        server = ("127.0.0.1", running.address.port)
        with Client(server) as plain, SecureClient(server) as secure:
            await secure.shake_hands()
            first, second = await plain.allocated(), await secure.allocated()
            assert await plain.bind(0x4000, second) == 0
            assert await secure.bind(0x4001, first) == 0
            plain.send_channel(0x4000, b"hello")
            assert await secure.receive() == b"\x40\x01\x00\x05hello"
            secure.send_channel(0x4001, b"back")
            assert await plain.receive() == b"\x40\x00\x00\x04back"


async def test_allocation_ends_with_its_session(pair: CertificatePair) -> None:
    async with serving(certificate=pair) as running:
        with SecureClient(("127.0.0.1", running.address.port)) as client:
            await client.shake_hands()
            await client.allocated()
            assert running.relay.stats.allocations == 1
            client.tells.send(client.dtls.goodbye())
            while not client.dtls.is_over:
                await client.take_one()
            assert running.relay.stats.allocations == 0


async def test_clients_are_told_when_the_relay_stops(pair: CertificatePair) -> None:
    async with serving(certificate=pair) as running:
        client = SecureClient(("127.0.0.1", running.address.port))
        await client.shake_hands()
    with client:
        await client.take_one()
    assert client.dtls.is_over


async def test_certificate_is_reloaded_and_sessions_go_on(tmp_path: Path) -> None:
    async with serving(certificate=certificate_pair(tmp_path)) as running:
        server = ("127.0.0.1", running.address.port)
        with SecureClient(server) as before, SecureClient(server) as after:
            await before.shake_hands()
            certificates.made(tmp_path, names=("renewed.test",))
            running.relay.reload_certificate()
            await after.shake_hands()
            assert certificate(before) != certificate(after)
            assert code_of(await before.request(stun.BINDING, [])) == 0


def certificate(client: SecureClient) -> bytes:
    return client.dtls.connection.get_peer_certificate(as_cryptography=True).tbs_certificate_bytes


async def test_without_a_certificate_dtls_is_noise() -> None:
    async with serving() as running:
        server = ("127.0.0.1", running.address.port)
        with SecureClient(server) as client, Client(server) as plain:
            client.tells.send(client.dtls.first())
            await plain.request(stun.BINDING, [])
            running.relay.reload_certificate()
    assert running.relay.stats.dropped == {"noise": 1}


@pytest.mark.slow
@pytest.mark.parametrize("flight", [1, 2], ids=["first", "last"])
async def test_lost_flight_of_the_server_is_sent_again(pair: CertificatePair, flight: int) -> None:
    lost: list[bytes] = []

    def is_lost(datagram: bytes) -> bool:
        # a HelloVerifyRequest is never sent again: the server keeps nothing
        is_flight = datagram[0] != 22 or datagram[13] != 3
        is_chosen = is_flight and len(lost) < flight and (flight == 1 or datagram[13] != SERVER_HELLO)
        if is_chosen:
            lost.append(datagram)
        return is_chosen

    async with serving(certificate=pair) as running:
        with SecureClient(("127.0.0.1", running.address.port)) as client:
            client.is_lost = is_lost
            await client.shake_hands()
            assert lost
            assert code_of(await client.request(stun.BINDING, [])) == 0
    assert running.relay.stats.connections_total == {"dtls": 1}
