"""A relay that serves stock TURN clients, and what they need: coturn's tools, credentials, ICE ends."""

import asyncio
import base64
import contextlib
import hmac
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import aioice
import msgspec
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from media.relay.certificate import CertificatePair
from media.relay.relay import Relay, RelayAddress
from media.relay.relay_settings import RelaySettings
from media.turn.credential import Keys
from tests import certificates
from tests.programs import require

SECRET = b"north"
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST_PORT = 15500 + 400 * WORKER
"""Of the 400 relay ports of this process: below those that the kernel gives out, and nobody else's."""
ENVIRONMENT = dict(os.environ)
"""Taken once: a child made in a thread would read it while pytest, in its own, moves it by naming the next test."""


def password(username: str, digest: str) -> str:
    return base64.b64encode(hmac.digest(SECRET, username.encode(), digest)).decode()


def credential() -> tuple[str, str]:
    username = f"{int(time.time()) + 300}:dmljdG9y"
    return username, password(username, "sha256")


def key_for(username: str) -> Keys | None:
    """Time-limited credentials in the shapes of coturn (SHA-1) and of AWS (SHA-256)."""
    expiry = username.partition(":")[0]
    if not expiry.isdecimal():
        return None
    ends_at = int(expiry) - time.time() + time.monotonic()
    return Keys((password(username, "sha256"), password(username, "sha1")), b"interop", ends_at)


class Served(msgspec.Struct):
    """A relay that runs in a thread of its own; `call` has a function called there, `drain` begins the end."""

    relay: Relay
    port: int
    call: Callable[..., object]
    drain: Callable[[], object]


@contextlib.contextmanager
def relay_in_a_thread(files: certificates.DevelopmentFiles | None = None, **changes: object) -> Iterator[Served]:
    """Serve UDP and TCP, with `files` DTLS and TLS too."""
    # coturn's client before 4.16 takes channel numbers up to 0x7FFE
    settings = RelaySettings(
        port=0,
        more_hosts=("::1",),
        min_port=FIRST_PORT,
        max_port=FIRST_PORT + 399,
        has_legacy_channel_numbers=True,
        allocations_per_channel=200,  # -O and -B leave theirs to the timer
        bitrate_bps=0,
    )
    if files is not None:
        pair = CertificatePair(files.pair.certificate, files.pair.key)
        settings = msgspec.structs.replace(settings, tls=certificates.tls_context(pair), certificate=pair)
    loop = asyncio.new_event_loop()
    stopping, is_ready = asyncio.Event(), threading.Event()
    relay = Relay(msgspec.structs.replace(settings, **changes), key_for)
    served = Served(relay, 0, loop.call_soon_threadsafe, lambda: loop.call_soon_threadsafe(stopping.set))

    def ready(address: RelayAddress) -> None:
        served.port = address.port
        is_ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(served.relay.run(ready, stopping),))
    thread.start()
    try:
        assert is_ready.wait(60)
        yield served
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def echo_peers(port: int) -> Iterator[int]:
    """Run turnutils_peer, which echoes; gives its port, from which `-r` of the client counts on."""
    program = require("turnutils_peer")
    words = ["-L", "127.0.0.1", "-L", "::1", "-p", str(port)]
    with subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.kill()


def uclient(port: int, echo_port: int, options: str, secret: str = "north") -> subprocess.CompletedProcess[str]:
    words = ["-u", "user", "-W", secret, "-n", "20", "-m", "2", "-l", "172", "-z", "5", "-r", str(echo_port)]
    server = "::1" if "-L ::1" in options else "127.0.0.1"
    peer = [] if "-e" in options else ["-e", "127.0.0.1"]
    command = [require("turnutils_uclient"), *words, *peer, *options.split(), "-p", str(port), server]
    for _ in range(4):
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=ENVIRONMENT)
        # The tool draws lots with -O: each tenth time it leaves a socket whose Allocate was answered, and brings the
        # reservation token again from another one. RFC 8656, 7.2 (5) refuses that, and so does coturn.
        if "-O" not in options or "error 508" not in done.stdout:
            break
    return done


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


async def assert_talk(one: aioice.Connection, two: aioice.Connection) -> None:
    """Connect both ends and have each hear the other; then close them."""
    try:
        async with asyncio.timeout(20):
            await connect(one, two)
            for sender, receiver in ((one, two), (two, one)):
                await sender.send(b"hello")
                assert await receiver.recv() == b"hello"
    finally:
        for end in (one, two):
            await end.close()


async def assert_data_channel_echoes(uri: str) -> None:
    """Have two aiortc peers send 50 messages there and back, relay to relay, by one TURN URI."""
    username, secret = credential()
    server = RTCIceServer(urls=uri, username=username, credential=secret)
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
