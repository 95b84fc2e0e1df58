"""The relay judged over UDP by clients that know nothing of it: coturn's tools, aioice, aiortc."""

import subprocess
from collections.abc import Iterator

import aioice
import pytest

from tests.interop.turn import (
    Served,
    assert_data_channel_echoes,
    assert_talk,
    credential,
    echo_peers,
    relay_in_a_thread,
    uclient,
)
from tests.programs import require

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

RELAY, ALL = aioice.TransportPolicy.RELAY, aioice.TransportPolicy.ALL
CASES = ["", "-s", "-y", "-y -s", "-c", "-c -g", "-D", "-G", "-O", "-B", "-x -e ::1", "-L ::1 -e 127.0.0.1"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with relay_in_a_thread() as served:
        yield served


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    with echo_peers(3588) as port:
        yield port


@pytest.mark.parametrize("options", CASES)
def test_turnutils_uclient_loses_nothing(served: Served, echo_port: int, options: str) -> None:
    done = uclient(served.port, echo_port, options)
    assert done.returncode == 0, done.stdout[-2000:]
    if options != "-O":
        assert "Total lost packets 0 " in done.stdout + done.stderr


def test_turnutils_uclient_with_a_wrong_secret_is_refused(served: Served, echo_port: int) -> None:
    assert uclient(served.port, echo_port, "", "wrong").returncode == 255


def test_turnutils_stunclient_sees_its_address(served: Served) -> None:
    command = [require("turnutils_stunclient"), "-p", str(served.port), "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0
    assert "UDP reflexive addr: 127.0.0.1:" in done.stdout + done.stderr


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
