"""The relay judged by clients that know nothing of it: coturn's tools, aioice, aiortc."""

import asyncio
import base64
import hmac
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aioice
import msgspec
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from media.turn.credential import Keys
from media.turn.relay import Relay, RelayAddress, RelaySettings
from tests.programs import require

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

SECRET = b"north"
RELAY, ALL = aioice.TransportPolicy.RELAY, aioice.TransportPolicy.ALL
CASES = ["", "-s", "-y", "-y -s", "-c", "-c -g", "-D", "-G", "-O", "-B", "-x -e ::1", "-L ::1 -e 127.0.0.1"]


def password(username: str, digest: str) -> str:
    return base64.b64encode(hmac.digest(SECRET, username.encode(), digest)).decode()


def key_for(username: str) -> Keys | None:
    """Time-limited credentials in the shapes of coturn (SHA-1) and of AWS (SHA-256)."""
    expiry = username.partition(":")[0]
    if not expiry.isdecimal():
        return None
    ends_at = int(expiry) - time.time() + time.monotonic()
    return Keys((password(username, "sha256"), password(username, "sha1")), b"interop", ends_at)


class Served(msgspec.Struct):
    """A relay that runs in a thread of its own."""

    relay: Relay
    port: int


@contextmanager
def relay_in_a_thread() -> Iterator[Served]:
    # coturn's client before 4.16 takes channel numbers up to 0x7FFE
    settings = RelaySettings(
        port=0,
        more_hosts=("::1",),
        min_port=46000,
        max_port=46399,
        has_legacy_channel_numbers=True,
        bitrate_bps=0,
    )
    served, is_ready = Served(Relay(settings, key_for), 0), threading.Event()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    def ready(address: RelayAddress) -> None:
        served.port = address.port
        is_ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(served.relay.run(ready, stopping),))
    thread.start()
    try:
        assert is_ready.wait(10)
        yield served
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with relay_in_a_thread() as served:
        yield served


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """Port of turnutils_peer, which echoes; `-r` of the client counts on from it."""
    program = require("turnutils_peer")
    process = subprocess.Popen(
        [program, "-L", "127.0.0.1", "-L", "::1", "-p", "3588"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield 3588
    process.kill()
    process.wait()


def uclient(served: Served, echo_port: int, options: str, secret: str = "north") -> subprocess.CompletedProcess[str]:
    words = ["-u", "user", "-W", secret, "-n", "20", "-m", "2", "-l", "172", "-z", "5", "-r", str(echo_port)]
    server = "::1" if "-L ::1" in options else "127.0.0.1"
    peer = [] if "-e" in options else ["-e", "127.0.0.1"]
    command = [require("turnutils_uclient"), *words, *peer, *options.split(), "-p", str(served.port), server]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("options", CASES)
def test_turnutils_uclient_loses_nothing(served: Served, echo_port: int, options: str) -> None:
    done = uclient(served, echo_port, options)
    for _ in range(4):
        # The tool draws lots with -O: each tenth time it leaves a socket whose Allocate was answered, and brings the
        # reservation token again from another one. RFC 8656, 7.2 (5) refuses that, and so does coturn.
        if options != "-O" or done.returncode == 0 or "error 508" not in done.stdout:
            break
        done = uclient(served, echo_port, options)
    assert done.returncode == 0, done.stdout[-2000:]
    if options != "-O":
        assert "Total lost packets 0 " in done.stdout + done.stderr


def test_turnutils_uclient_with_a_wrong_secret_is_refused(served: Served, echo_port: int) -> None:
    assert uclient(served, echo_port, "", "wrong").returncode == 255


def test_turnutils_stunclient_sees_its_address(served: Served) -> None:
    command = [require("turnutils_stunclient"), "-p", str(served.port), "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0
    assert "UDP reflexive addr: 127.0.0.1:" in done.stdout + done.stderr


def credential() -> tuple[str, str]:
    username = f"{int(time.time()) + 300}:dmljdG9y"
    return username, password(username, "sha256")


@pytest.mark.parametrize("policies", [(RELAY, RELAY), (RELAY, ALL), (ALL, RELAY)])
async def test_aioice_talks_through_the_relay(
    served: Served, policies: tuple[aioice.TransportPolicy, aioice.TransportPolicy]
) -> None:
    username, secret = credential()
    ends = [
        aioice.Connection(
            is_first,
            transport_policy=policy,
            turn_server=("127.0.0.1", served.port),
            turn_username=username,
            turn_password=secret,
        )
        for is_first, policy in zip((True, False), policies, strict=True)
    ]
    try:
        async with asyncio.timeout(20):
            await connect(*ends)
            for sender, receiver in (ends, ends[::-1]):
                await sender.send(b"hello")
                assert await receiver.recv() == b"hello"
    finally:
        for end in ends:
            await end.close()


async def connect(one: aioice.Connection, two: aioice.Connection) -> None:
    for end in (one, two):
        await end.gather_candidates()
    for end, other in ((one, two), (two, one)):
        for candidate in other.local_candidates:
            await end.add_remote_candidate(candidate)
        await end.add_remote_candidate(None)
        end.remote_username, end.remote_password = other.local_username, other.local_password
    async with asyncio.TaskGroup() as group:
        group.create_task(one.connect())
        group.create_task(two.connect())


async def test_aiortc_data_channel_passes_relay_to_relay(served: Served) -> None:
    username, secret = credential()
    server = RTCIceServer(urls=f"turn:127.0.0.1:{served.port}?transport=udp", username=username, credential=secret)
    before = served.relay.stats.packets_to_clients
    one, two = (
        RTCPeerConnection(RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY))
        for _ in range(2)
    )
    channel, echoes = one.createDataChannel("echo"), asyncio.Queue[object](maxsize=300)
    channel.on("message", echoes.put_nowait)
    channel.on("open", lambda: [channel.send(bytes([count]) * 1000) for count in range(50)])
    two.on("datachannel", lambda other: other.on("message", other.send))
    try:
        async with asyncio.timeout(20):
            await one.setLocalDescription(await one.createOffer())
            await two.setRemoteDescription(one.localDescription)
            await two.setLocalDescription(await two.createAnswer())
            await one.setRemoteDescription(two.localDescription)
            assert [await echoes.get() for _ in range(50)] == [bytes([count]) * 1000 for count in range(50)]
    finally:
        await one.close()
        await two.close()
    assert "typ relay" in one.localDescription.sdp
    assert "typ host" not in one.localDescription.sdp + two.localDescription.sdp
    assert served.relay.stats.packets_to_clients - before > 100
