"""The relay judged over TCP and TLS by clients that know nothing of it: aioice, aiortc."""

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
    relay_in_a_thread,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

POLICY = aioice.TransportPolicy.RELAY


class Place(msgspec.Struct, frozen=True):
    """A relay that speaks plain TURN and TLS."""

    served: Served
    ca: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    files = certificates.made(tmp_path_factory.mktemp("turn"))
    with relay_in_a_thread(files) as served:
        yield Place(served, files.ca, certificates.trusting(files.ca))


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
