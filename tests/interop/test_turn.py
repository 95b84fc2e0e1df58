"""The relay judged over UDP by clients that know nothing of it: aioice, aiortc."""

from collections.abc import Iterator

import aioice
import pytest

from tests.interop.turn import (
    Served,
    assert_data_channel_echoes,
    assert_talk,
    credential,
    relay_in_a_thread,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

RELAY, ALL = aioice.TransportPolicy.RELAY, aioice.TransportPolicy.ALL


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with relay_in_a_thread() as served:
        yield served


@pytest.mark.parametrize("policies", [(RELAY, RELAY), (RELAY, ALL), (ALL, RELAY)])
async def test_aioice_talks_through_the_relay(
    served: Served, policies: tuple[aioice.TransportPolicy, aioice.TransportPolicy]
) -> None:
    username, secret = credential()
    one, two = (
        aioice.Connection(
            is_first,
            transport_policy=policy,
            turn_server=("127.0.0.1", served.port),
            turn_username=username,
            turn_password=secret,
        )
        for is_first, policy in zip((True, False), policies, strict=True)
    )
    await assert_talk(one, two)


async def test_aiortc_data_channel_passes_relay_to_relay(served: Served) -> None:
    before = served.relay.stats.packets_to_clients
    await assert_data_channel_echoes(f"turn:127.0.0.1:{served.port}?transport=udp")
    assert served.relay.stats.packets_to_clients - before > 100
