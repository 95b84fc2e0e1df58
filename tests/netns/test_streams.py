"""TURN over TCP, TLS and DTLS behind NATs, and a client that stops to read."""

import contextlib
import itertools
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import trusting
from tests.netns.lab import HOST_A, NAT_A, NAT_B, PUBLIC, WAN, Lab
from tests.netns.nat import Nat
from tests.netns.serving import PORT, Served, serving
from tests.netns.stream_client import StreamClient
from tests.netns.table import Line, note
from tests.netns.turn_client import MISMATCH, LabClient
from tests.programs import require
from tests.running import heliograph

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

CHANNEL = 0x4000
RELAXED_PORT, ECHO_PORT = PORT + 2, 3588
FIRST_PLACE = 50  # in the table, behind the agents
WAYS = ("TCP", "TLS")


@pytest.fixture(scope="session")
def relaxed(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A relay without bounds of bitrate, for clients of any age."""
    # turnutils_uclient before 4.16 takes channel numbers of RFC 5766
    words = ("--limits-profile", "relaxed", "--turn-legacy-channel-numbers", "true")
    with serving(shared_lab, tmp_path_factory.mktemp("relaxed"), *words, port=RELAXED_PORT) as served:
        yield served


def stream(lab: Lab, served: Served, way: str, port: int = PORT, window_bytes: int = 0) -> StreamClient:
    tls = trusting(served.ca_file) if way == "TLS" else None
    return StreamClient(lab, HOST_A, served.credential(), (PUBLIC, port), tls=tls, window_bytes=window_bytes)


def assert_passes(client: LabClient, peer: socket.socket, relayed: tuple[str, int]) -> None:
    """Data of a length that needs padding passes both ways."""
    client.send_channel(CHANNEL, b"to the peer")
    assert peer.recvfrom(100) == (b"to the peer", relayed)
    peer.sendto(b"to the client", relayed)
    assert client.heard() == (CHANNEL, b"to the client")


@pytest.mark.parametrize("way", WAYS)
def test_an_allocation_lives_as_long_as_its_connection(
    lab: Lab, served: Served, public_peer: socket.socket, way: str
) -> None:
    lab.set_nat(NAT_A, Nat.UDP_BLOCKED)
    with stream(lab, served, way) as client:
        relayed = client.allocated()
        assert client.bind(CHANNEL, public_peer.getsockname()) == 0
        assert_passes(client, public_peer, relayed)
        assert client.refresh(1200) == 0
        assert_passes(client, public_peer, relayed)
    with stream(lab, served, way) as client:
        assert client.refresh() == MISMATCH  # the allocation was the connection's


def test_a_stream_that_the_router_forgot_is_opened_anew(lab: Lab, served: Served, public_peer: socket.socket) -> None:
    lab.set_nat(NAT_A, Nat.SYMMETRIC)
    with stream(lab, served, "TCP") as client:
        client.allocated()
        lab.forget_connections(NAT_A)
        with pytest.raises(ConnectionError):
            client.refresh()
    with stream(lab, served, "TCP") as client:
        relayed = client.allocated()
        assert client.bind(CHANNEL, public_peer.getsockname()) == 0
        assert_passes(client, public_peer, relayed)


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def until_it_is_through(
    client: StreamClient, peer: socket.socket, relayed: tuple[str, int], size: int
) -> Iterator[bytes]:
    """What waited for the client, each of this size: it is all there once a shorter message has come behind it."""
    for count in itertools.count():
        last = b"last %d" % count
        peer.sendto(last, relayed)  # another one, where there was no room for it
        with contextlib.suppress(TimeoutError):
            while True:
                channel, data = client.heard(2.0)
                assert channel == CHANNEL
                if data == last:
                    return
                if not data.startswith(b"last"):
                    assert len(data) == size
                    yield data


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_stops_to_read_costs_others_nothing(
    lab: Lab, relaxed: Served, public_peer: socket.socket, way: str
) -> None:
    size, burst, rounds = 1200, 200, 100
    with (
        stream(lab, relaxed, way, RELAXED_PORT, window_bytes=16_384) as stalled,
        LabClient(lab, HOST_A, relaxed.credential(), (PUBLIC, RELAXED_PORT)) as other,
        lab.udp(NAT_B, WAN[NAT_B]) as others_peer,
    ):
        relayed, others_relayed = stalled.allocated(), other.allocated()
        assert stalled.bind(CHANNEL, public_peer.getsockname()) == 0
        assert other.bind(CHANNEL, others_peer.getsockname()) == 0
        memory, slowest = [], 0.0
        for count in range(rounds):
            for number in range(burst):
                public_peer.sendto((count * burst + number).to_bytes(size), relayed)
            started = time.monotonic()
            assert_passes(other, others_peer, others_relayed)
            slowest = max(slowest, time.monotonic() - started)
            memory.append(resident_bytes(relaxed.pid))
        arrived = [int.from_bytes(data) for data in until_it_is_through(stalled, public_peer, relayed, size)]
        assert_passes(stalled, public_peer, relayed)
        assert stalled.refresh() == 0
    print(
        f"{len(arrived)} of {rounds * burst} arrived, memory {memory[rounds // 5]} then {memory[-1]}, {slowest:.3f} s"
    )
    assert arrived == sorted(set(arrived))
    assert len(arrived) * size < 8 << 20
    assert memory[-1] - memory[rounds // 5] <= 1 << 20


@contextlib.contextmanager
def echoing(lab: Lab) -> Iterator[None]:
    """Run turnutils_peer on the public peer's address."""
    command = [*lab.within(NAT_B), require("turnutils_peer"), "-L", WAN[NAT_B], "-p", str(ECHO_PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def test_turnutils_uclient_loses_nothing_over_dtls(lab: Lab, relaxed: Served, request: pytest.FixtureRequest) -> None:
    lab.set_nat(NAT_A, Nat.SYMMETRIC)
    lab.filter(NAT_B, "flush ruleset")
    username, password = relaxed.credential()
    words = ["-S", "-u", username, "-w", password, "-n", "20", "-m", "2", "-l", "172", "-z", "5"]
    peer = ["-e", WAN[NAT_B], "-r", str(ECHO_PORT)]
    command = [*lab.within(HOST_A), require("turnutils_uclient"), *words, *peer, "-p", str(RELAXED_PORT), PUBLIC]
    expected = "exit code 0, Total lost packets 0"
    for _ in range(3):  # where a process stands still for a moment its sockets overflow; what we lose is lost each time
        with echoing(lab):
            started = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            seconds = time.monotonic() - started
        lost = [line.partition(": : ")[2] for line in (done.stdout + done.stderr).splitlines() if "Total lost" in line]
        seen = f"exit code {done.returncode}, {' '.join(lost).partition(' (')[0]}"
        if seen == expected:
            break
    servers = "TURN over DTLS, turnutils_uclient"
    note(request, Line(FIRST_PLACE, Nat.SYMMETRIC.value, "public peer", servers, expected, seen, seconds))
    assert seen == expected, done.stdout + done.stderr


def test_our_own_check_passes_each_way_through_a_symmetric_nat(
    lab: Lab, served: Served, request: pytest.FixtureRequest
) -> None:
    lab.set_nat(NAT_A, Nat.SYMMETRIC)
    username, password = served.credential()
    uris = [f"{scheme}:{PUBLIC}:{PORT}?transport={way}" for scheme in ("turn", "turns") for way in ("udp", "tcp")]
    words = ("--username", username, "--password", password, "--ca-file", str(served.ca_file))
    started = time.monotonic()
    done = heliograph("turn", "check", *uris, *words, "--json", within=lab.within(HOST_A))
    seconds = time.monotonic() - started
    working = [attempt["way"] for attempt in json.loads(done.stdout)["attempts"] if attempt["ok"]]
    expected, seen = "UDP, TCP, DTLS, TLS", ", ".join(working)
    place, servers = FIRST_PLACE + 1, "TURN over each, heliograph turn check"
    note(request, Line(place, Nat.SYMMETRIC.value, "the relay itself", servers, expected, seen, seconds))
    assert (seen, done.returncode) == (expected, 0), done.stdout
