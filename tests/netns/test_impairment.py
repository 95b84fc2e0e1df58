"""TURN on bad networks: requests get through by being sent again, and what is lost is packets, never allocations."""

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.impairment import loss, loss_of, narrow
from tests.netns.lab import HOST_A, NAT_A, PUB, PUBLIC, Lab
from tests.netns.serving import PORT, Served, relay_ports
from tests.netns.turn_client import LIMIT_S, MISMATCH, LabClient
from tests.running import heliograph

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

CHANNEL = 0x4000


def open_relays(lab: Lab) -> set[int]:
    """Ports of the relay sockets that are open in the public network."""
    with lab.entered(PUB):
        lines = Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
    return {int(line.split()[1].partition(":")[2], 16) for line in lines} & set(relay_ports(PORT))


def test_at_five_per_cent_loss_every_allocation_is_made_and_refreshed(
    lab: Lab, served: Served, public_peer: socket.socket
) -> None:
    before, count = open_relays(lab), 30
    requests = 5 * count  # Allocate without and with credentials, ChannelBind, two times Refresh
    with ExitStack() as stack:
        dropped = stack.enter_context(loss(lab, NAT_A, 5))
        clients = [stack.enter_context(LabClient(lab, HOST_A, served.credential())) for _ in range(count)]
        ports = [client.allocated()[1] for client in clients]
        for client in clients:
            assert client.bind(CHANNEL, public_peer.getsockname()) == 0
            assert [client.refresh(), client.refresh()] == [0, 0]
        lost, attempts = dropped.count(), sum(client.attempts for client in clients)
        assert len(set(ports)) == count
        assert open_relays(lab) - before == set(ports)
        for client in clients:
            client.give_back()
    print(f"{requests} requests, sent {attempts} times, {lost} packets lost")
    assert lost > 0
    assert attempts >= requests + lost


def test_an_allocate_whose_answers_are_lost_makes_one_relay(lab: Lab, served: Served) -> None:
    with LabClient(lab, HOST_A, served.credential()) as client:
        assert client.refresh() == MISMATCH  # and has a nonce now
        before, attempts = open_relays(lab), client.attempts
        with loss_of(lab, NAT_A, f"udp sport {PORT} quota until 300 bytes") as dropped:
            _, port = client.allocated()
            lost = dropped.count()
        assert lost >= 2
        assert client.attempts - attempts >= lost + 1
        assert open_relays(lab) - before == {port}
        answers = set()
        for _ in range(2):
            client.send(client.last_request)
            answers.add(client.receive(LIMIT_S))
        assert len(answers) == 1
        client.give_back()
        assert port not in open_relays(lab)


def test_a_narrow_way_loses_packets_in_no_other_order(lab: Lab, served: Served, public_peer: socket.socket) -> None:
    offered, size = 400, 1000
    with LabClient(lab, HOST_A, served.credential()) as client, narrow(lab, NAT_A, "wan", "2mbit") as dropped:
        relayed = client.allocated()
        assert client.bind(CHANNEL, public_peer.getsockname()) == 0
        for number in range(offered):
            client.send_channel(CHANNEL, number.to_bytes(size))
        assert client.refresh() == 0
        public_peer.settimeout(2.0)
        arrived = []
        try:
            while True:
                data, source = public_peer.recvfrom(2000)
                assert (len(data), source) == (size, relayed)
                arrived.append(int.from_bytes(data))
        except TimeoutError:
            pass
        lost = dropped.count()
    print(f"{len(arrived)} of {offered} arrived, {lost} lost on the way")
    assert arrived == sorted(set(arrived))
    assert 0 < len(arrived) < offered
    assert len(arrived) + lost >= offered


LOST = {
    "a hello": f"udp dport {PORT} quota until 300 bytes",
    "the request for a cookie": f"udp sport {PORT} udp length < 100 quota until 80 bytes",
    "the server's flight": f"udp sport {PORT} udp length > 300 quota until 1000 bytes",
    "the client's flight": f"udp dport {PORT} udp length > 100 udp length < 180 quota until 170 bytes",
}


@pytest.mark.parametrize("lost", LOST)
def test_a_dtls_handshake_survives_the_loss_of(lab: Lab, served: Served, lost: str) -> None:
    uri = f"turns:{PUBLIC}:{PORT}?transport=udp"
    with loss_of(lab, NAT_A, LOST[lost]) as dropped:
        done = heliograph("turn", "check", uri, "--ca-file", str(served.ca_file), "--json", within=lab.within(HOST_A))
        lost_packets = dropped.count()
    steps = {step["name"]: step for step in json.loads(done.stdout)["attempts"][0]["steps"]}
    print(lost, steps["tls"])
    assert lost_packets > 0
    assert steps["tls"]["result"] == "ok"
