"""Relay sockets read in rounds: the same packets as by asking the rules each time, whatever happens in the middle."""

import errno
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.relay.batch import Posts
from media.relay.drains import BUDGET, Source
from media.relay.readiness import MOST_READY
from media.relay.rounds import STAYS_BUSY, Rounds
from media.relay.udp import UdpSocket
from media.turn.address import SocketAddress
from tests.media.relay.test_drains import (
    DOWNS,
    NUMBERS,
    PEERS,
    STEPS,
    Door,
    Quick,
    Sent,
    Slow,
    Wire,
    channel,
    play,
    prepared,
)
from tests.media.turn.world import PEER, Caller

MANY = 40
Packets = Sequence[tuple[int, bytes, SocketAddress]]


class Round(Quick):
    """A server whose relay sockets are read in rounds."""

    def __init__(self, **rules: object) -> None:
        super().__init__(**rules)
        self.rounds = Rounds(self.world.server, self.drains._sockets, self.world.stats, self.drains, Posts)
        self.round_count = 0

    def source_of(self, relay: int) -> Source:
        if relay not in self.sources:
            self.sources[relay] = Source(relay, self.relays[relay])
        return self.sources[relay]

    def peers_sent(self, relay: int, packets: list[tuple[bytes, SocketAddress]]) -> None:
        self.arrived([(relay, *packet) for packet in packets])

    def arrived(self, packets: Packets) -> None:
        for relay, data, peer in packets:
            self.source_of(relay)
            self.wire_of(relay).waiting.append((data, peer))
        while ready := [self.source_of(relay) for relay in self.sources if self.wire_of(relay).waiting]:
            self.read(ready)

    def read(self, ready: list[Source]) -> None:
        self.rounds.from_peers(self.from_peer, ready, self.world.now)
        self.round_count += 1


def by_flow(sent: Sent) -> dict[object, list[bytes]]:
    """Return what was sent from each peer to each client, and to each peer, without transaction ids."""
    flows: dict[object, list[bytes]] = defaultdict(list)
    for way, messages in sent.items():
        for message in messages:
            if message[:2] == b"\0\x17":
                flows[way, message[20:32]].append(message[:8] + message[20:])
            else:
                flows[way, message[:2]].append(message)
    return flows


TOGETHER = st.tuples(st.just("together"), st.lists(DOWNS, min_size=1, max_size=30))


@pytest.mark.slow
@settings(max_examples=80)
@given(
    st.lists(st.one_of(STEPS, TOGETHER), max_size=12), st.sampled_from(({"bitrate_bps": 0}, {"bitrate_bps": 200_000}))
)
def test_rounds_let_the_same_packets_pass_as_the_rules(steps: list[tuple[str, object]], rules: dict[str, int]) -> None:
    slow, quick = Slow(**rules), Round(**rules)
    for server in (slow, quick):
        callers = prepared(server, 3)
        for step in steps:
            if step[0] != "together":
                play(server, callers, step)
                continue
            assert isinstance(step[1], list)
            packets = [
                (relay + 1, bytes((count,)) * size, PEERS[where] if where < len(PEERS) else ("9.9.9.9", 1))
                for count, (relay, where, size) in enumerate(step[1])
            ]
            if isinstance(server, Round):
                server.arrived(packets)
            else:
                for relay, data, peer in packets:
                    server.peers_sent(relay, [(data, peer)])
        server.world.pass_time(0.0)
    assert by_flow(quick.sent) == by_flow(slow.sent)
    assert quick.world.stats == slow.world.stats
    assert quick.world.server.usage() == slow.world.server.usage()


def warm(count: int) -> tuple[Round, list[Caller]]:
    """Clients with routes from a peer with a channel and one with a permission, and relay sockets that are not busy."""
    quick = Round(bitrate_bps=0)
    callers = prepared(quick, count)
    for peer in (PEERS[0], PEERS[2]):
        for caller in callers:
            quick.peers_sent(caller.relay, [(b"slow", peer)])
    calm(quick)
    return quick, callers


def calm(quick: Round) -> None:
    for source in quick.sources.values():
        source.busy, source.last_round = 0, -1
    quick.sent.clear()
    quick.slow_count = quick.round_count = 0


def test_all_sockets_that_can_be_read_are_served_by_one_round() -> None:
    quick, callers = warm(MANY)
    quick.arrived([(caller.relay, b"%d" % caller.relay, PEERS[0]) for caller in callers])
    assert quick.round_count == 1
    assert quick.slow_count == 0
    for caller in callers:
        assert quick.sent["listener", caller.source] == [channel(NUMBERS[0], b"%d" % caller.relay)]
    assert quick.world.stats.packets_to_clients == 3 * MANY
    assert MOST_READY <= BUDGET


def test_packets_of_a_socket_stay_in_order_and_it_is_drained_once_more_wait() -> None:
    quick, callers = warm(3)
    many = [b"%d" % count for count in range(10)]
    quick.arrived([(caller.relay, data, PEERS[0]) for data in many for caller in callers[:2]])
    for caller in callers[:2]:
        assert quick.sent["listener", caller.source] == [channel(NUMBERS[0], data) for data in many]
    assert quick.round_count == 2
    assert quick.source_of(callers[0].relay).busy == STAYS_BUSY
    for left in range(STAYS_BUSY - 1, -1, -1):
        quick.arrived([(callers[0].relay, b"one", PEERS[0])])
        assert quick.source_of(callers[0].relay).busy == left


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED])
def test_fault_of_a_send_in_the_middle_costs_one_packet(code: int) -> None:
    quick, callers = warm(3)

    class Faulty(Wire):
        def sendto(self, data: bytes, destination: SocketAddress) -> None:
            self.errno = code if destination == callers[1].source else 0
            super().sendto(data, destination)

    quick.drains._sockets.listeners[0] = UdpSocket(Faulty(quick.sent, "listener"))  # type: ignore[arg-type]
    quick.arrived([(caller.relay, b"x", PEERS[2 * (at == 2)]) for at, caller in enumerate(callers)])
    assert [len(quick.sent["listener", caller.source]) for caller in callers] == [1, 0, 1]
    assert quick.world.stats.send_errors == 1


def test_faults_of_receives_cost_no_packet_of_another_socket() -> None:
    quick, callers = warm(5)

    def told(fault: type[OSError] | OSError) -> Wire:
        wire = Wire(quick.sent, "faulty")

        def fail(_: memoryview) -> tuple[int, SocketAddress]:
            raise fault

        wire.recvfrom_into = fail  # type: ignore[method-assign]
        return wire

    refused, empty, closed = (quick.source_of(caller.relay) for caller in callers[1:4])
    for source, fault in ((refused, OSError(errno.ECONNREFUSED, "told so")), (empty, BlockingIOError())):
        source.udp.handle = told(fault)  # type: ignore[assignment]
    closed.udp.handle = told(OSError(errno.EBADF, "closed"))  # type: ignore[assignment]
    del quick.relays[closed.number]
    first, last = callers[0], callers[4]
    for caller in (first, last):
        quick.wire_of(caller.relay).waiting.append((b"x", PEERS[0]))
    quick.read([quick.sources[caller.relay] for caller in callers])
    assert quick.sent == {("listener", each.source): [channel(NUMBERS[0], b"x")] for each in (first, last)}
    assert quick.world.stats.receive_errors == 1


def test_what_takes_the_slow_way_goes_between_the_others() -> None:
    quick, callers = warm(3)
    before = quick.world.stats.bytes_to_clients
    senders = (PEERS[0], PEERS[1], PEERS[0])
    quick.arrived([(caller.relay, b"data", peer) for caller, peer in zip(callers, senders, strict=True)])
    assert quick.slow_count == 1
    assert list(quick.sent) == [("listener", caller.source) for caller in callers]
    assert quick.world.stats.bytes_to_clients == before + 12


def test_busy_socket_that_was_closed_meanwhile_is_left_alone() -> None:
    quick, callers = warm(2)
    sources = [quick.source_of(caller.relay) for caller in callers]
    for source in sources:
        source.busy = 1
        quick.wire_of(source.number).waiting.append((b"x", PEERS[0]))
    del quick.relays[sources[0].number]
    quick.read(sources)
    assert list(quick.sent) == [("listener", callers[1].source)]


def test_clients_behind_doors_and_of_several_listeners_are_served_by_one_round() -> None:
    quick, received = Round(bitrate_bps=0), list[bytes]()
    wires = quick.drains._sockets.listeners
    wires.append(UdpSocket(Wire(quick.sent, "second")))  # type: ignore[arg-type]
    listeners = (0, 1, quick.doors.open(Door(received)), 0)  # type: ignore[arg-type]
    callers = [Caller(quick.world, listener=number, port=40000 + at) for at, number in enumerate(listeners)]
    for caller in callers:
        caller.allocate()
        caller.bind(NUMBERS[0])
    quick.arrived([(caller.relay, b"slow", PEER) for caller in callers])
    calm(quick)
    quick.take()
    quick.sent.clear()
    quick.arrived([(caller.relay, b"x", PEER) for caller in callers])
    message = [channel(NUMBERS[0], b"x")]
    assert received == message
    names = ("listener", "second", "", "listener")
    assert quick.sent == {(name, each.source): message for name, each in zip(names, callers, strict=True) if name}
    assert quick.world.stats.packets_to_clients == 8
    assert quick.slow_count == 0
