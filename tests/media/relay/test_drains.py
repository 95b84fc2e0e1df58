"""The quick way and the slow way: the same packets, in the same order, with the same counts."""

import errno
import socket
from collections import defaultdict

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from media.relay.batch import Batch
from media.relay.doors import FIRST_DOOR, Doors
from media.relay.drains import MOST_REMEMBERED, Drains, Sockets, Source
from media.relay.udp import Outbox, UdpSocket
from media.turn import channel_data, stun
from media.turn.address import SocketAddress, pack
from tests.media.turn.world import PEER, RELAY_HOST, RULES, Caller, World, code_of

PEERS = (PEER, ("8.8.8.8", 5001), ("8.8.4.4", 5000))
NUMBERS = (0x4000, 0x4001, 0x4002)
Sent = dict[object, list[bytes]]


class Wire:
    """A socket that plays what is to be received and notes what is sent, by where it goes."""

    family = socket.AF_INET

    def __init__(self, sent: Sent, name: object) -> None:
        self.sent = sent
        self.name = name
        self.waiting: list[tuple[bytes, SocketAddress]] = []
        self.errno = 0
        self.run_errno = 0
        self.sends = 0

    def recvfrom_into(self, slot: memoryview) -> tuple[int, SocketAddress]:
        if not self.waiting:
            raise BlockingIOError
        data, source = self.waiting.pop(0)
        slot[: len(data)] = data
        return len(data), source

    def sendto(self, data: bytes, destination: SocketAddress) -> None:
        self.sends += 1
        if self.errno:
            raise OSError(self.errno, "told so")
        self.sent[self.name, destination].append(bytes(data))

    def sendmsg(self, parts: list[bytes], _: object, __: int, destination: SocketAddress) -> None:
        self.sends += 1
        if self.run_errno:
            raise OSError(self.run_errno, "told so")
        self.sent[self.name, destination] += map(bytes, parts)


class Relays(dict[int, UdpSocket]):
    """Relay sockets, made when they are asked for."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self._sent = sent

    def __missing__(self, relay: int) -> UdpSocket:
        self[relay] = UdpSocket(Wire(self._sent, ("relay", relay)))  # type: ignore[arg-type]  # a double
        return self[relay]


class Door:
    """Notes what comes to the client behind it."""

    def __init__(self, sent: list[bytes]) -> None:
        self._sent = sent

    def send(self, head: bytes, data: bytes | memoryview) -> None:
        self._sent.append(head + bytes(data))

    def close(self) -> None:
        raise AssertionError


class Slow:
    """A server of which every packet asks the rules."""

    def __init__(self, **rules: object) -> None:
        self.world = World(msgspec.structs.replace(RULES, **rules))
        self.sent: Sent = defaultdict(list)

    def clients_sent(self, packets: list[tuple[bytes, SocketAddress]]) -> None:
        for data, source in packets:
            self.world.perform(self.world.server.receive(0, memoryview(data), source, self.world.now))
            self.take()

    def peers_sent(self, relay: int, packets: list[tuple[bytes, SocketAddress]]) -> None:
        for data, source in packets:
            self.world.perform(self.world.server.relayed(relay, memoryview(data), source, self.world.now))
            self.take()

    def take(self) -> None:
        """Note what the world let out."""
        for client_address, data in self.world.to_clients:
            self.sent["listener", client_address].append(data)
        for relay, peer_address, data in self.world.to_peers:
            self.sent[("relay", relay), peer_address].append(data)
        self.world.to_clients.clear()
        self.world.to_peers.clear()


class Quick(Slow):
    """A server whose packets take routes where there are some; drains of these sizes."""

    def __init__(self, **rules: object) -> None:
        super().__init__(**rules)
        stats = self.world.stats
        self.doors = Doors(stats)
        self.outbox = Outbox(stats)
        sockets = Sockets(self.doors, self.outbox)
        self.wire = Wire(self.sent, "listener")
        sockets.listeners = [UdpSocket(self.wire)]  # type: ignore[arg-type]  # a double
        self.relays = sockets.relays = Relays(self.sent)
        self.drains = Drains(self.world.server, sockets, stats, self.outbox.flush, Batch)
        self.listener = Source(0, sockets.listeners[0])
        self.sources: dict[int, Source] = {}
        self.slow_count = 0

    def clients_sent(self, packets: list[tuple[bytes, SocketAddress]]) -> None:
        self.wire.waiting += packets
        while self.wire.waiting:
            self.drains.from_clients(self.listener, self.from_client, self.world.now)

    def peers_sent(self, relay: int, packets: list[tuple[bytes, SocketAddress]]) -> None:
        source = self.sources.setdefault(relay, Source(relay, self.relays[relay]))
        wire = self.wire_of(relay)
        wire.waiting += packets
        while wire.waiting:
            self.drains.from_peers(source, self.from_peer, self.world.now)

    def wire_of(self, relay: int) -> Wire:
        wire = self.relays[relay].handle
        assert isinstance(wire, Wire)
        return wire

    def from_client(self, number: int, data: memoryview, source: SocketAddress, now: float) -> None:
        self.slow_count += 1
        self.world.perform(self.world.server.receive(number, data, source, now))
        self.take()

    def from_peer(self, relay: int, data: memoryview, source: SocketAddress, now: float) -> None:
        self.slow_count += 1
        self.world.perform(self.world.server.relayed(relay, data, source, now))
        self.take()


def prepared(server: Slow, count: int = 2) -> list[Caller]:
    """Clients with two channels and a permission each; the first can reach the second's relay by a third channel."""
    callers = [Caller(server.world, port=40000 + number) for number in range(count)]
    for caller in callers:
        caller.allocate()
        for number, peer in zip(NUMBERS, PEERS[:2], strict=False):
            assert code_of(caller.bind(number, peer)) == 0
        caller.permit(PEERS[2][0])
    target = server.world.server._table.by_client[0, callers[-1].source].relayed[0].port
    assert code_of(callers[0].bind(NUMBERS[2], (RELAY_HOST, target))) == 0
    callers[-1].permit(RELAY_HOST)
    server.take()
    server.sent.clear()
    return callers


def channel(number: int, data: bytes) -> bytes:
    return channel_data.header(number, len(data)) + data


def send(peer: SocketAddress, data: bytes) -> bytes:
    value = stun.xor_address(pack(peer[0]), peer[1], bytes(12))
    message = stun.Message(stun.SEND, stun.INDICATION, bytes(12), [(stun.XOR_PEER_ADDRESS, value), (stun.DATA, data)])
    return stun.encode(message)


SIZES = st.sampled_from((0, 1, 3, 172, 172, 172, 1200, 1200, 1200, 1472, 1473, 9000))
UPS = st.tuples(st.sampled_from("cccsssxba"), st.integers(0, 2), st.integers(0, 3), SIZES)
DOWNS = st.tuples(st.integers(0, 2), st.integers(0, 3), SIZES)
STEPS = st.one_of(
    st.tuples(st.just("up"), st.lists(UPS, min_size=1, max_size=90)),
    st.tuples(st.just("down"), st.lists(DOWNS, min_size=1, max_size=90)),
    st.tuples(st.just("time"), st.sampled_from((0.0, 0.01, 0.4, 1.0, 100.0, 299.0, 300.0))),
    st.tuples(st.just("refresh"), st.integers(0, 2)),
    st.tuples(st.just("bind"), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 2)),
    st.tuples(st.just("sweep"), st.just(0)),
)


def play(server: Slow, callers: list[Caller], step: tuple[str, object]) -> None:
    """Do one step; packets are numbered so that each is told from the others."""
    match step:
        case "up", list(packets):
            made = []
            for count, (kind, who, where, size) in enumerate(packets):
                data = (count.to_bytes(2) + bytes(size))[:size]
                peer = PEERS[where] if where < len(PEERS) else ("9.9.9.9", 1)
                number = NUMBERS[where] if where < len(NUMBERS) else 0x4009
                whole = send(peer, data) if kind == "s" else channel(number, data)
                if kind in "ba":
                    attributes = [(stun.SOFTWARE, b"x")] if kind == "a" else []
                    whole = stun.encode(stun.Message(stun.BINDING, stun.REQUEST, count.to_bytes(12), attributes))
                made.append((whole[:-1] if kind == "x" and size else whole, callers[who].source))
            server.clients_sent(made)
        case "down", list(packets):
            for relay, where, size in packets:
                peer = PEERS[where] if where < len(PEERS) else ("9.9.9.9", 1)
                server.peers_sent(relay + 1, [(bytes((where,)) * size, peer)] * (1 + size % 5))
        case "time", float(seconds):
            server.world.now += seconds
        case "sweep", _:
            server.world.pass_time(0.0)
        case str(what), int(who) if who < len(callers):
            request(server, callers[who], what)


def request(server: Slow, caller: Caller, what: str) -> None:
    number = next(server.world.transactions)
    match what:
        case "bind":
            peer = caller.peer(PEERS[1], number)
            built = caller.build(
                stun.CHANNEL_BIND, [(stun.CHANNEL_NUMBER, NUMBERS[1].to_bytes(2) + bytes(2)), peer], transaction=number
            )
        case "end":
            built = caller.build(stun.REFRESH, [(stun.LIFETIME, bytes(4))], transaction=number)
        case _:
            built = caller.build(stun.REFRESH, [], transaction=number)
    server.clients_sent([(channel(NUMBERS[1], b"before"), caller.source), (built, caller.source)])


@pytest.mark.slow
@settings(max_examples=120)
@example([("up", [("c", 0, 1, 2), ("s", 0, 1, 2), ("s", 0, 1, 2), ("c", 0, 1, 2), ("s", 0, 1, 2)])], {"bitrate_bps": 0})
@given(
    st.lists(STEPS, max_size=12),
    st.sampled_from(({"bitrate_bps": 0}, {"bitrate_bps": 200_000}, {"bitrate_bps": 0, "total_bitrate_bps": 400_000})),
)
def test_both_ways_let_the_same_packets_pass(steps: list[tuple[str, object]], rules: dict[str, int]) -> None:
    slow, quick = Slow(**rules), Quick(**rules)
    for server in (slow, quick):
        callers = prepared(server, 3)
        for step in steps:
            play(server, callers, step)
        server.world.pass_time(0.0)  # else each ends what is over with the next packet that takes the slow way
    assert dict(quick.sent) == dict(slow.sent)
    assert quick.world.stats == slow.world.stats
    assert quick.world.server.usage() == slow.world.server.usage()
    assert quick.world.refusals == slow.world.refusals


def test_packets_take_the_quick_way_after_the_first() -> None:
    quick = Quick()
    caller = prepared(quick)[0]
    for _ in range(3):
        quick.clients_sent([(channel(NUMBERS[0], b"up"), caller.source)] * 50)
        quick.clients_sent([(send(PEERS[2], b"sent"), caller.source)] * 50)
        quick.peers_sent(caller.relay, [(b"down", PEERS[0])] * 50)
        quick.peers_sent(caller.relay, [(b"data", PEERS[2])] * 50)
    assert quick.slow_count == 4
    assert quick.wire.sends + quick.wire_of(caller.relay).sends < 30


@pytest.mark.parametrize("before", [True, False])
def test_bind_and_permission_end_to_the_second(before: bool) -> None:
    quick = Quick()
    caller = prepared(quick)[0]
    packets = [(channel(NUMBERS[0], b"up"), caller.source), (send(PEERS[2], b"sent"), caller.source)]
    quick.clients_sent(packets)
    quick.peers_sent(caller.relay, [(b"data", PEERS[2])])
    quick.sent.clear()
    quick.world.now += 299.0 if before else 300.0
    quick.clients_sent(packets)
    quick.peers_sent(caller.relay, [(b"data", PEERS[2])])
    assert sum(map(len, quick.sent.values())) == (3 if before else 1)
    caller.refresh()
    quick.take()
    quick.world.now += 300.0
    quick.sent.clear()
    quick.clients_sent(packets)
    assert sum(map(len, quick.sent.values())) == (1 if before else 0)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH, errno.ECONNREFUSED, errno.EMSGSIZE])
@pytest.mark.parametrize("size", [5, 7])
def test_fault_of_a_send_loses_packets_and_nothing_else(code: int, size: int) -> None:
    quick = Quick()
    caller = prepared(quick)[0]
    quick.clients_sent([(channel(NUMBERS[0], b"first"), caller.source)])
    wire = quick.wire_of(caller.relay)
    wire.errno = wire.run_errno = code
    quick.clients_sent([(channel(NUMBERS[0], b"lost!" + bytes(at % 2 * (size - 5))), caller.source) for at in range(4)])
    assert quick.world.stats.send_errors == 4
    wire.errno = wire.run_errno = 0
    quick.sent.clear()
    quick.clients_sent([(channel(NUMBERS[0], b"again"), caller.source)] * 2)
    assert quick.sent == {(("relay", caller.relay), PEERS[0]): [b"again"] * 2}
    assert quick.slow_count == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_run_that_the_way_cannot_segment_goes_out_one_by_one(code: int) -> None:
    quick = Quick()
    caller = prepared(quick)[0]
    quick.wire.run_errno = code
    data = [bytes((at,)) for at in range(6)]
    quick.peers_sent(caller.relay, [(each, PEERS[0]) for each in data])
    assert quick.sent["listener", caller.source] == [channel(NUMBERS[0], each) for each in data]
    assert quick.world.stats.send_errors == 0


def behind_a_door() -> tuple[Quick, Caller, list[bytes]]:
    quick, received = Quick(), []
    caller = Caller(quick.world, listener=quick.doors.open(Door(received)))
    caller.allocate()
    caller.bind(NUMBERS[0])
    quick.take()
    quick.sent.clear()
    return quick, caller, received


def test_client_behind_a_door_is_reached_by_a_route_while_the_door_is_open() -> None:
    quick, caller, received = behind_a_door()
    quick.peers_sent(caller.relay, [(b"slow", PEER)])
    quick.peers_sent(caller.relay, [(b"one", PEER), (b"two", PEER)])
    assert received == [channel(NUMBERS[0], data) for data in (b"one", b"two")]
    assert quick.slow_count == 1
    quick.doors.close(caller.listener)
    quick.peers_sent(caller.relay, [(b"late", PEER)])
    assert quick.world.stats.dropped == {"door-closed": 1}


def test_client_behind_a_door_sends_by_a_route() -> None:
    quick, caller, _ = behind_a_door()
    assert caller.listener >= FIRST_DOOR

    def passes(message: bytes) -> bool:
        is_gone = quick.drains.from_door(caller.listener, memoryview(message), caller.source, quick.world.now)
        quick.outbox.flush()
        return is_gone

    message = channel(NUMBERS[0], b"padded") + bytes(2)
    assert not passes(message)
    caller.channel_data(NUMBERS[0], b"slow")
    quick.take()
    quick.sent.clear()
    assert passes(message)
    assert passes(message[:-2])
    assert not any(map(passes, (message[:-3], message[:3], b"", channel(NUMBERS[1], b"x"))))
    assert quick.sent == {(("relay", caller.relay), PEER): [b"padded"] * 2}
    assert quick.world.stats.packets_to_peers == 3
    quick.world.now += 600.0
    assert not passes(message)


def test_sources_that_are_remembered_are_bounded() -> None:
    quick = Quick(bitrate_bps=0)
    caller = prepared(quick)[0]
    ports = range(1, MOST_REMEMBERED + 10)
    quick.peers_sent(caller.relay, [(b"x", (PEERS[2][0], port)) for port in ports])
    assert 0 < len(quick.sources[caller.relay].downs) <= MOST_REMEMBERED


def test_clients_without_routes_that_are_remembered_are_bounded_and_stay_themselves() -> None:
    quick, heard = Quick(), list[SocketAddress]()
    quick.from_client = lambda _number, _data, source, _now: heard.append(source)  # type: ignore[method-assign]
    sources = [("192.0.2.1", port) for port in range(1, MOST_REMEMBERED + 10)]
    for _ in range(2):
        quick.clients_sent([(b"\x17", source) for source in sources])
    assert heard == sources * 2
    assert 0 < len(quick.listener.addresses) <= MOST_REMEMBERED
