"""The core against a dumb model: any order of requests, data and time ends in the same picture."""

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.media.turn.world import Caller, World, code_of

CLIENTS = st.integers(0, 2)
HOSTS = st.sampled_from(("8.8.8.8", "9.9.9.9"))
PORTS = st.sampled_from((1, 2))
NUMBERS = st.sampled_from((0x4000, 0x4001))


class Picture:
    """What one client should have."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.permissions: dict[str, float] = {}
        self.binds: dict[int, tuple[tuple[str, int], float]] = {}


class TurnMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.callers = [Caller(self.world, port=40000 + number) for number in range(3)]
        self.pictures: dict[int, Picture] = {}

    @property
    def now(self) -> float:
        return self.world.now

    def fresh(self, client: int) -> Caller:
        caller = self.callers[client]
        caller.challenge()
        return caller

    @rule(client=CLIENTS)
    def allocate(self, client: int) -> None:
        code = code_of(self.fresh(client).allocate())
        assert code == (437 if client in self.pictures else 0)
        self.pictures.setdefault(client, Picture(self.now + 600))

    @rule(client=CLIENTS, lifetime_s=st.sampled_from((0, 600, 3600)))
    def refresh(self, client: int, lifetime_s: int) -> None:
        code = code_of(self.fresh(client).refresh(lifetime_s))
        assert code == (0 if client in self.pictures else 437)
        if client in self.pictures:
            self.pictures[client].end = self.now + lifetime_s
            if not lifetime_s:
                del self.pictures[client]

    @rule(client=CLIENTS, host=HOSTS)
    def permit(self, client: int, host: str) -> None:
        code = code_of(self.fresh(client).permit(host))
        assert code == (0 if client in self.pictures else 437)
        if client in self.pictures:
            self.pictures[client].permissions[host] = self.now + 300

    @rule(client=CLIENTS, number=NUMBERS, host=HOSTS, port=PORTS)
    def bind(self, client: int, number: int, host: str, port: int) -> None:
        code = code_of(self.fresh(client).bind(number, (host, port)))
        picture = self.pictures.get(client)
        if picture is None:
            assert code == 437
            return
        taken = {n: peer for n, (peer, end) in picture.binds.items() if end + 300 > self.now}
        is_clash = any((n == number) != (peer == (host, port)) for n, peer in taken.items())
        assert code == (400 if is_clash else 0)
        if not is_clash:
            picture.binds[number] = ((host, port), self.now + 600)
            picture.permissions[host] = self.now + 300

    @rule(client=CLIENTS, host=HOSTS, port=PORTS)
    def indicate(self, client: int, host: str, port: int) -> None:
        before = len(self.world.to_peers)
        self.callers[client].indicate(b"data", (host, port))
        assert len(self.world.to_peers) - before == self.is_permitted(client, host)

    @rule(client=CLIENTS, number=NUMBERS)
    def channel_data(self, client: int, number: int) -> None:
        before = len(self.world.to_peers)
        self.callers[client].channel_data(number, b"data")
        picture = self.pictures.get(client)
        peer, end = (None, 0.0) if picture is None else picture.binds.get(number, (None, 0.0))
        assert [peer for _, peer, _ in self.world.to_peers[before:]] == ([peer] if end > self.now else [])

    @rule(client=CLIENTS, host=HOSTS, port=PORTS)
    def from_peer(self, client: int, host: str, port: int) -> None:
        picture = self.pictures.get(client)
        if picture is None:
            return
        before = len(self.world.to_clients)
        self.world.from_peer(self.callers[client].relay, b"data", (host, port))
        heads = [data[:2] for _, data in self.world.to_clients[before:]]
        numbers = [n for n, (peer, end) in picture.binds.items() if peer == (host, port) and end > self.now]
        if numbers:
            assert heads == [numbers[0].to_bytes(2)]
        else:
            assert heads == ([b"\x00\x17"] if self.is_permitted(client, host) else [])

    @rule(seconds=st.sampled_from((1.0, 299.0, 300.0, 599.0, 600.0)))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.pictures = {client: picture for client, picture in self.pictures.items() if picture.end > self.now}

    def is_permitted(self, client: int, host: str) -> bool:
        picture = self.pictures.get(client)
        return picture is not None and picture.permissions.get(host, 0.0) > self.now

    @invariant()
    def relay_sockets_are_those_of_the_allocations(self) -> None:
        assert len(self.world.relays) == len(self.pictures) == self.world.stats.allocations

    @invariant()
    def timer_rings_when_the_next_allocation_may_end(self) -> None:
        deadline = self.world.server.next_deadline()
        ends = [picture.end for picture in self.pictures.values()]
        assert not ends or (deadline is not None and self.now < deadline <= min(ends))


TurnMachine.TestCase.settings = hypothesis.settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTurnMachine = TurnMachine.TestCase
