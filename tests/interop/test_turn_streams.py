"""The relay judged over TCP and TLS by clients that know nothing of it: coturn's tools, aioice, aiortc."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aioice
import msgspec
import pytest

from tests import certificates
from tests.interop.turn import (
    Served,
    assert_data_channel_echoes,
    assert_talk,
    credential,
    echo_peers,
    relay_in_a_thread,
    uclient,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

TCP = ["-t", "-t -s", "-t -y", "-t -c", "-t -O", "-t -B", "-t -x -e ::1", "-t -L ::1 -e 127.0.0.1"]
TLS = [options.replace("-t", "-t -S") for options in TCP]
POLICY = aioice.TransportPolicy.RELAY


class Place(msgspec.Struct, frozen=True):
    """A relay that speaks plain TURN and TLS on two ports."""

    served: Served
    second_port: int
    ca: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    files = certificates.made(tmp_path_factory.mktemp("turn"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        second_port = probe.getsockname()[1]
    with relay_in_a_thread(files, more_ports=((second_port, "tcp"),)) as served:
        yield Place(served, second_port, files.ca, certificates.trusting(files.ca))


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    with echo_peers(3688) as port:
        yield port


@pytest.mark.parametrize("options", TCP + TLS)
@pytest.mark.parametrize("is_second", [False, True])
def test_turnutils_uclient_loses_nothing(place: Place, echo_port: int, options: str, is_second: bool) -> None:
    stats = place.served.relay.stats
    transport = "tls" if "-S" in options else "tcp"
    before = stats.connections_total.get(transport, 0)
    done = uclient(place.second_port if is_second else place.served.port, echo_port, options)
    assert done.returncode == 0, done.stdout[-2000:]
    if "-O" not in options:
        assert "Total lost packets 0 " in done.stdout + done.stderr
    assert stats.connections_total[transport] > before


@pytest.mark.parametrize("options", ["-t", "-t -S"])
def test_turnutils_uclient_with_a_wrong_secret_is_refused(place: Place, echo_port: int, options: str) -> None:
    assert uclient(place.served.port, echo_port, options, "wrong").returncode == 255


@pytest.mark.parametrize("is_tls", [False, True])
async def test_aioice_talks_through_the_relay(place: Place, is_tls: bool) -> None:
    username, secret = credential()
    one, two = (
        aioice.Connection(
            is_first,
            transport_policy=POLICY,
            turn_server=("127.0.0.1", place.served.port),
            turn_username=username,
            turn_password=secret,
            turn_transport="tcp",
            # the hint says bool, asyncio takes a context as well: one that trusts the test's CA
            turn_ssl=place.trust if is_tls else False,  # type: ignore[arg-type]
        )
        for is_first in (True, False)
    )
    await assert_talk(one, two)


@pytest.mark.parametrize("form", ["turn:127.0.0.1:{}?transport=tcp", "turns:127.0.0.1:{}?transport=tcp"])
async def test_aiortc_data_channel_passes_relay_to_relay(
    place: Place, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(place.ca))
    stats = place.served.relay.stats
    transport = "tls" if form.startswith("turns") else "tcp"
    before = stats.packets_to_clients, stats.connections_total.get(transport, 0)
    await assert_data_channel_echoes(form.format(place.served.port))
    assert stats.packets_to_clients - before[0] > 100
    assert stats.connections_total[transport] - before[1] == 2
