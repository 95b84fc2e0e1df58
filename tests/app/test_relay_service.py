"""A real service with TLS: its URIs are served, what is relayed is counted, certificates are read again."""

import asyncio
import contextlib
import signal
import ssl
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from media.turn import stun
from tests.app.relay_rig import Service
from tests.certificates import made
from tests.media.relay.loopback import peer_socket, received
from tests.media.turn.world import code_of
from tests.running import FREE_PORTS, heliograph, running, started

pytestmark = pytest.mark.slow


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    words = (*FREE_PORTS, "--tls", "--https-port", "0")
    with (
        running("serve", *words, "--limits-profile", "relaxed", home=tmp_path) as ready,
        contextlib.ExitStack() as stack,
    ):
        yield Service(tmp_path, ready, stack)


async def test_every_uri_of_the_answer_is_served(service: Service) -> None:
    arn = await service.create("door")
    answer = await service.call("/v1/get-ice-server-config", {"ChannelARN": arn}, service.admin)
    (server,) = answer["IceServerList"]
    plain, dtls, tls = server["Uris"]
    port = plain.partition("?")[0].rpartition(":")[2]
    assert plain == f"turn:127.0.0.1:{port}?transport=udp"
    assert dtls == f"turns:127.0.0.1:{port}?transport=udp"
    assert tls == f"turns:127.0.0.1:{port}?transport=tcp"
    check = await asyncio.to_thread(
        service.command,
        *("turn", "check", *server["Uris"], "--username", server["Username"], "--password", server["Password"]),
        *("--ca-file", service.ready["ca_file"]),
    )
    assert check["ok"], check
    assert {attempt["way"] for attempt in check["attempts"]} >= {"UDP", "TLS", "DTLS"}


async def test_what_is_relayed_is_counted_by_channel_and_in_all(service: Service) -> None:
    arn, other = await service.create("door"), await service.create("other")
    client = await service.relay(arn, service.admin)
    await service.relay(other, service.admin)
    with peer_socket(client.relayed[0]) as peer:
        assert await client.bind(0x4001, peer.getsockname()) == 0
        client.send_channel(0x4001, b"x" * 1000)
        data, source = await received(peer)
        peer.sendto(b"y" * 250, source)
        assert len(await client.receive()) >= 254
    expected = {"allocations": 1, "bytesToPeers": 1000, "bytesToClients": 250}
    async with asyncio.timeout(15):
        while await service.call("/v1/relay-usage", {"channelArn": arn}, service.admin) != expected:
            pass  # it is told once a second
    assert data == b"x" * 1000
    used = await service.call("/v1/relay-usage", {"channelArn": other}, service.admin)
    assert used == {"allocations": 1, "bytesToPeers": 0, "bytesToClients": 0}
    text = await asyncio.to_thread(_text, f"{service.ready['ops']}/metrics")
    assert 'heliograph_turn_allocations{transport="udp"} 2.0' in text
    assert 'heliograph_turn_relayed_bytes_total{direction="peers"} 1000.0' in text


async def test_another_certificate_is_taken_up_without_a_stop(tmp_path: Path) -> None:
    pair = made(tmp_path).pair
    words = ("--turn-tls-certificate", str(pair.certificate), "--turn-tls-key", str(pair.key))
    with running("serve", *FREE_PORTS, *words, home=tmp_path) as ready, contextlib.ExitStack() as stack:
        service = Service(tmp_path, ready, stack)
        client = await service.relay(await service.create("door"), service.admin)
        place = ("127.0.0.1", int(ready["turn"].partition("?")[0].rpartition(":")[2]))
        before = await asyncio.to_thread(ssl.get_server_certificate, place)
        pair.certificate.unlink()
        made(tmp_path)
        async with asyncio.timeout(15):
            while await asyncio.to_thread(ssl.get_server_certificate, place) == before:
                pass
        assert await client.is_alive()


async def test_a_certificate_of_no_use_is_told_at_the_start(tmp_path: Path) -> None:
    words = ("--turn-tls-certificate", str(tmp_path / "no.pem"), "--turn-tls-key", str(tmp_path / "no.key"))
    done = await asyncio.to_thread(heliograph, "serve", *FREE_PORTS, *words, home=tmp_path)
    assert done.returncode == 2
    assert "TURN_TLS_CERTIFICATE: " in done.stderr
    assert "no.pem cannot be read" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_lets_open_allocations_go_on_and_sends_new_clients_elsewhere(workers: str, tmp_path: Path) -> None:
    words = ("--turn-drain-s", "60", "--turn-alternate-server", "192.0.2.8:3478", "--turn-workers", workers)
    with started("serve", *words, home=tmp_path) as served, contextlib.ExitStack() as stack:
        service = Service(tmp_path, served.ready, stack)
        arn = await service.create("door")
        client, late = await service.relay(arn, service.admin), await service.relay(arn, service.admin)
        await late.end()
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while (code := code_of(refused := await late.allocate())) in (0, 438):
                if code == 0:
                    await late.end()
                else:  # its worker had nothing left to wait for: the other one does not know its nonce
                    late.nonce = refused.first(stun.NONCE) or b""
        assert code == 300
        assert refused.first(stun.ALTERNATE_SERVER) == bytes([0, 1, *(3478).to_bytes(2), 192, 0, 2, 8])
        assert await client.is_alive()
        await client.end()
        assert await asyncio.to_thread(served.process.wait, 60) == 0


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
