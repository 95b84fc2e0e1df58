"""The relay and clients behind NATs, one message at a time: what must keep an allocation and what must end it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from media.turn import stun
from media.turn.address import IPV6
from tests.media.turn.world import address_of, code_of
from tests.netns.lab import HOST_A, HOST_B, HOSTS_V6, NAT_A, NAT_B, PUB, PUBLIC, PUBLIC_V6, WAN, Lab, laboratory
from tests.netns.nat import Nat
from tests.netns.serving import PORT, Served, relay_ports, serving
from tests.netns.turn_client import FORBIDDEN, MISMATCH, LabClient

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

CHANNEL, OTHER_CHANNEL = 0x4000, 0x4001
RELAY_V6 = (stun.REQUESTED_ADDRESS_FAMILY, bytes((IPV6, 0, 0, 0)))


@pytest.fixture
def client(lab: Lab, served: Served) -> Iterator[LabClient]:
    with LabClient(lab, HOST_A, served.credential()) as client:
        yield client


def assert_passes(client: LabClient, peer: socket.socket, relayed: tuple[str, int], number: int = CHANNEL) -> None:
    """Data passes both ways between a channel and the socket of its peer."""
    client.send_channel(number, b"to the peer")
    data, source = peer.recvfrom(100)
    assert (data, source[:2]) == (b"to the peer", relayed)
    peer.sendto(b"to the client", relayed)
    assert client.heard() == (number, b"to the client")


def assert_silent(peer: socket.socket) -> None:
    peer.settimeout(0.2)
    with pytest.raises(TimeoutError):
        peer.recv(100)


def bound(client: LabClient, peer: socket.socket, number: int = CHANNEL) -> tuple[str, int]:
    """Allocate and bind a channel to the peer; returns the relayed address."""
    relayed = client.allocated()
    assert client.bind(number, peer.getsockname()) == 0
    return relayed


def test_a_refreshed_allocation_goes_on_until_it_is_given_back(lab: Lab, client: LabClient) -> None:
    with lab.udp(HOST_B, "0.0.0.0") as peer:
        relayed = client.allocated()
        assert client.permit(WAN[NAT_B]) == 0
        peer.sendto(b"here", relayed)  # opens the peer's own NAT
        mapped, data = client.heard()
        assert data == b"here"
        assert not isinstance(mapped, int)
        assert mapped[0] == WAN[NAT_B]
        client.indicate(mapped, b"without a channel")
        assert peer.recvfrom(100) == (b"without a channel", relayed)
        assert client.bind(CHANNEL, mapped) == 0
        assert_passes(client, peer, relayed)
        for lifetime_s in (None, 1200):
            assert client.refresh(lifetime_s) == 0
            assert_passes(client, peer, relayed)
        assert client.refresh(0) == 0
        client.send_channel(CHANNEL, b"too late")
        assert_silent(peer)


def test_without_allowed_networks_the_lab_is_refused_and_relay_to_relay_is_not(lab: Lab, tmp_path: Path) -> None:
    port = PORT + 1
    with serving(lab, tmp_path, cidrs="", port=port) as strict, ExitStack() as stack:
        one, two = (
            stack.enter_context(LabClient(lab, host, strict.credential(), (PUBLIC, port))) for host in (HOST_A, HOST_B)
        )
        relayed = [client.allocated() for client in (one, two)]
        for host in (WAN[NAT_B], "10.0.2.2", "10.0.1.2", "127.0.0.1"):
            assert one.permit(host) == FORBIDDEN
            assert one.bind(CHANNEL, (host, 5000)) == FORBIDDEN
        assert one.permit("8.8.8.8", "10.0.2.2") == FORBIDDEN
        assert one.permit("8.8.8.8") == 0
        assert one.bind(CHANNEL, relayed[1]) == 0
        assert two.bind(CHANNEL, relayed[0]) == 0
        one.send_channel(CHANNEL, b"relay to relay")
        assert two.heard() == (CHANNEL, b"relay to relay")


def test_an_unreachable_peer_costs_a_packet_not_the_allocation(tmp_path: Path) -> None:
    # Without a default route the system says at once that it knows no way to a private address.
    with (
        laboratory(has_default_route=False) as lab,
        serving(lab, tmp_path) as served,
        LabClient(lab, HOST_A, served.credential()) as client,
    ):
        lab.filter(NAT_B, "flush ruleset")
        with lab.udp(PUB, PUBLIC) as probe, pytest.raises(OSError, match="unreachable"):
            probe.sendto(b"", ("10.0.2.2", 5000))
        with lab.udp(NAT_B, WAN[NAT_B]) as peer:
            relayed = bound(client, peer)
            assert client.bind(OTHER_CHANNEL, ("10.0.2.2", 5000)) == 0
            for _ in range(3):
                client.send_channel(OTHER_CHANNEL, b"alone")
                assert_passes(client, peer, relayed)
                for _ in range(10):  # leave as one, in segments
                    client.indicate(("10.0.2.2", 5000), b"in a row")
                assert_passes(client, peer, relayed)
            assert client.bind(CHANNEL + 2, ("10.0.2.2", 5001)) == 0
            assert client.permit("10.0.2.2") == 0
            assert client.refresh() == 0
            assert_passes(client, peer, relayed)


def icmp_unreachable(lab: Lab) -> int:
    """How many messages of ICMP "destination unreachable" the relay's system received."""
    with lab.entered(PUB):
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(dict(zip(names, values, strict=True))["InDestUnreachs"])


def test_a_peer_that_refuses_by_icmp_keeps_the_allocation(
    lab: Lab, client: LabClient, public_peer: socket.socket
) -> None:
    relayed = bound(client, public_peer)
    with lab.udp(NAT_B, WAN[NAT_B]) as closed:
        nobody = closed.getsockname()
    assert client.bind(OTHER_CHANNEL, nobody) == 0
    before = icmp_unreachable(lab)
    for _ in range(3):
        client.send_channel(OTHER_CHANNEL, b"to a closed port")
        assert_passes(client, public_peer, relayed)
    assert icmp_unreachable(lab) > before
    assert client.refresh() == 0
    assert client.bind(OTHER_CHANNEL, nobody) == 0
    assert_passes(client, public_peer, relayed)


def test_relays_of_two_clients_behind_one_nat_reach_each_other(lab: Lab, served: Served, client: LabClient) -> None:
    with LabClient(lab, HOST_A, served.credential()) as other:
        relayed = {end: end.allocated() for end in (client, other)}
        assert client.bind(CHANNEL, relayed[other]) == 0
        assert other.bind(OTHER_CHANNEL, relayed[client]) == 0
        client.send_channel(CHANNEL, b"there")
        assert other.heard() == (OTHER_CHANNEL, b"there")
        other.send_channel(OTHER_CHANNEL, b"and back")
        assert client.heard() == (CHANNEL, b"and back")


def test_relays_of_different_workers_reach_each_other(lab: Lab, tmp_path: Path) -> None:
    port = PORT + 4
    first_of_second = relay_ports(port)[200]  # each of two workers has half of them
    with serving(lab, tmp_path, "--turn-workers", "2", port=port) as served, ExitStack() as stack:
        clients: dict[bool, tuple[LabClient, tuple[str, int]]] = {}
        for _ in range(40):  # the system chooses the worker, by the client's address
            client = stack.enter_context(LabClient(lab, HOST_A, served.credential(), (PUBLIC, port)))
            relayed = client.allocated()
            clients[relayed[1] < first_of_second] = client, relayed
            if len(clients) == 2:
                break
        (one, ones), (two, twos) = clients.values()
        assert [one.bind(CHANNEL, twos), two.bind(OTHER_CHANNEL, ones)] == [0, 0]
        one.send_channel(CHANNEL, b"there")
        assert two.heard() == (OTHER_CHANNEL, b"there")
        two.send_channel(OTHER_CHANNEL, b"and back")
        assert one.heard() == (CHANNEL, b"and back")


def test_a_relay_reaches_itself(client: LabClient) -> None:
    relayed = client.allocated()
    assert client.bind(CHANNEL, relayed) == 0
    client.send_channel(CHANNEL, b"hairpin")
    assert client.heard() == (CHANNEL, b"hairpin")


def test_a_client_whose_nat_forgot_it_allocates_anew(lab: Lab, served: Served, public_peer: socket.socket) -> None:
    lab.set_nat(NAT_A, Nat.SYMMETRIC)
    with LabClient(lab, HOST_A, served.credential()) as client:
        first = client.allocate()
        before, relayed = (address_of(first, name) for name in (stun.XOR_MAPPED_ADDRESS, stun.XOR_RELAYED_ADDRESS))
        assert client.bind(CHANNEL, public_peer.getsockname()) == 0
        assert_passes(client, public_peer, relayed)
        lab.forget_connections(NAT_A)
        client.send_channel(CHANNEL, b"from a stranger")
        assert_silent(public_peer)
        assert client.refresh() == MISMATCH
        assert client.bind(CHANNEL, public_peer.getsockname()) == MISMATCH
        second = client.allocate()
        assert code_of(second) == 0
        assert address_of(second, stun.XOR_MAPPED_ADDRESS) != before
        anew = address_of(second, stun.XOR_RELAYED_ADDRESS)
        assert anew != relayed
        assert client.bind(CHANNEL, public_peer.getsockname()) == 0
        public_peer.settimeout(5)
        assert_passes(client, public_peer, anew)


def test_a_mobile_client_whose_nat_forgot_it_takes_its_allocation_along(
    lab: Lab, public_peer: socket.socket, tmp_path: Path
) -> None:
    lab.set_nat(NAT_A, Nat.SYMMETRIC)
    port = PORT + 5
    with (
        serving(lab, tmp_path, "--turn-mobility", "true", port=port) as served,
        LabClient(lab, HOST_A, served.credential(), (PUBLIC, port)) as client,
    ):
        made = client.allocate((stun.MOBILITY_TICKET, b""))
        relayed = address_of(made, stun.XOR_RELAYED_ADDRESS)
        assert client.bind(CHANNEL, public_peer.getsockname()) == 0
        for _ in range(2):
            ticket = made.first(stun.MOBILITY_TICKET)
            assert ticket
            lab.forget_connections(NAT_A)
            made = client.ask(stun.REFRESH, (stun.MOBILITY_TICKET, ticket))  # RFC 8016, 3.2: from another address
            assert code_of(made) == 0
            assert_passes(client, public_peer, relayed)


def test_a_nat_that_maps_as_before_keeps_the_allocation(
    lab: Lab, client: LabClient, public_peer: socket.socket
) -> None:
    relayed = bound(client, public_peer)
    lab.forget_connections(NAT_A)
    assert_passes(client, public_peer, relayed)
    assert client.refresh() == 0


@pytest.mark.parametrize("server", [PUBLIC, PUBLIC_V6])
def test_a_client_of_either_family_is_relayed_to_ipv6(lab: Lab, served: Served, server: str) -> None:
    with (
        LabClient(lab, HOST_A, served.credential(), (server, PORT)) as client,
        lab.udp(HOST_B, HOSTS_V6[HOST_B]) as peer,
    ):
        relayed = client.allocated(RELAY_V6)
        assert relayed[0] == PUBLIC_V6
        assert client.bind(CHANNEL, peer.getsockname()) == 0
        peer.sendto(b"opens the filter of its router", (*relayed, 0, 0))
        assert client.heard() == (CHANNEL, b"opens the filter of its router")
        assert_passes(client, peer, relayed)
