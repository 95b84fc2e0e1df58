"""The lab itself: quick to build, with NATs that behave as their kind, gone without a trace."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.measured import Row
from tests.netns.lab import HOST_A, HOST_B, NAT_A, PARTS, PUB, PUBLIC, PUBLIC_BESIDES, PUBLIC_V6, WAN, Lab, laboratory
from tests.netns.nat import Nat

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]


def is_silent(handle: socket.socket) -> bool:
    handle.settimeout(0.2)
    try:
        handle.recv(100)
    except TimeoutError:
        return True
    return False


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_it_is_soon_up_and_leaves_nothing(row: Row) -> None:
    before, seconds = interfaces(), []
    for _ in range(3):  # the best of three: the machine does other things
        started = time.monotonic()
        with laboratory() as lab:
            seconds.append(time.monotonic() - started)
            assert all((Path("/run/netns") / lab.name(part)).exists() for part in PARTS)
            assert interfaces() == before
        assert not [path for path in Path("/run/netns").iterdir() if path.name.startswith(lab.prefix)]
    row("made and gone", min(seconds), goal=1.0)
    assert interfaces() == before


def test_it_is_removed_when_its_making_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def configure(lab: Lab, *_: object) -> None:
        made.append(lab.prefix)
        raise RuntimeError("told so")

    monkeypatch.setattr(Lab, "configure", configure)
    with pytest.raises(RuntimeError), laboratory():
        pass
    assert not [path for path in Path("/run/netns").iterdir() if path.name.startswith(made[0])]


def test_two_labs_do_not_meet() -> None:
    with laboratory() as one, laboratory() as two:
        for lab in (one, two):
            with lab.udp(PUB, PUBLIC, 5000) as server, lab.udp(HOST_A, "0.0.0.0") as client:
                client.sendto(lab.prefix.encode(), (PUBLIC, 5000))
                assert server.recv(100) == lab.prefix.encode()


def mapped_ports(lab: Lab) -> list[int]:
    """The ports that one socket of host A shows to three addresses and ports."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(lab.udp(PUB, *at)) for at in ((PUBLIC, 5000), (PUBLIC, 5001), (PUBLIC_BESIDES, 5000))
        ]
        client = stack.enter_context(lab.udp(HOST_A, "0.0.0.0"))
        seen = []
        for server in servers:
            client.sendto(b"?", server.getsockname())
            _, (host, port) = server.recvfrom(100)
            assert host == WAN[NAT_A]
            seen.append(port)
        return seen


@pytest.mark.parametrize("kind", Nat)
def test_each_kind_of_nat_maps_and_filters_as_its_name_says(lab: Lab, kind: Nat) -> None:
    lab.set_nat(NAT_A, kind)
    if kind is Nat.UDP_BLOCKED:
        with lab.udp(PUB, PUBLIC, 5000) as server, lab.udp(HOST_A, "0.0.0.0") as client:
            client.sendto(b"?", (PUBLIC, 5000))
            assert is_silent(server)
        return
    assert len(set(mapped_ports(lab))) == (3 if kind is Nat.SYMMETRIC else 1)
    with lab.udp(PUB, PUBLIC, 5000) as server, lab.udp(HOST_A, "0.0.0.0") as client:
        with lab.udp(PUB, PUBLIC, 5001) as stranger:
            client.sendto(b"?", (PUBLIC, 5000))
            _, mapped = server.recvfrom(100)
            stranger.sendto(b"unasked", mapped)
            assert is_silent(client) == (kind is not Nat.FULL_CONE)
        server.sendto(b"answer", mapped)
        client.settimeout(5)
        assert client.recv(100) == b"answer"


def test_a_forgotten_mapping_is_made_anew(lab: Lab) -> None:
    lab.set_nat(NAT_A, Nat.SYMMETRIC)
    with lab.udp(PUB, PUBLIC, 5000) as server, lab.udp(HOST_A, "0.0.0.0") as client:
        ports = set()
        for _ in range(3):
            client.sendto(b"?", (PUBLIC, 5000))
            ports.add(server.recvfrom(100)[1][1])
            lab.forget_connections(NAT_A)
        assert len(ports) > 1


def test_ipv6_is_routed_and_filtered(lab: Lab) -> None:
    with lab.udp(PUB, PUBLIC_V6, 5000) as server, lab.udp(HOST_A, "::") as client:
        client.sendto(b"?", (PUBLIC_V6, 5000))
        _, source = server.recvfrom(100)
        assert source[0] == "2001:db8:1::2"
        with lab.udp(HOST_B, "::") as stranger:
            stranger.sendto(b"unasked", source[:2])
            assert is_silent(client)
