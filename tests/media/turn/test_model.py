"""The core against a dumb model: any order of requests, data and time ends in the same picture."""

import itertools

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from media.turn import stun
from media.turn.address import IPV4, IPV6
from tests.media.turn.world import PASSWORD, REALM, Caller, code_of, with_rules

V4, V6 = bytes((1, 0, 0, 0)), bytes((2, 0, 0, 0))
WANTED = {
    ((stun.ADDITIONAL_ADDRESS_FAMILY, V6),): (IPV4, IPV6),
    ((stun.REQUESTED_ADDRESS_FAMILY, V6),): (IPV6,),
    (): (IPV4,),
}
CLIENTS = st.integers(0, 2)
HOSTS = st.sampled_from(("8.8.8.8", "9.9.9.9", "2606:4700::1111"))
PORTS = st.sampled_from((1, 2))
NUMBERS = st.sampled_from((0x4000, 0x4001))


def family(host: str) -> int:
    return IPV6 if ":" in host else IPV4


class Picture:
    """What one client should have: the end of each family, permissions and binds, and a ticket if it may move."""

    def __init__(self, families: tuple[int, ...], end: float, ticket: bytes | None) -> None:
        self.ticket = ticket
        self.ends = dict.fromkeys(families, end)
        self.permissions: dict[str, float] = {}
        self.binds: dict[int, tuple[tuple[str, int], float]] = {}

    def end_families(self, now: float) -> None:
        self.ends = {each: end for each, end in self.ends.items() if end > now}
        self.permissions = {host: end for host, end in self.permissions.items() if family(host) in self.ends}
        self.binds = {number: bind for number, bind in self.binds.items() if family(bind[0][0]) in self.ends}


class TurnMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = with_rules(has_mobility=True)
        self.ports = itertools.count(50000)
        self.callers = [Caller(self.world, port=40000 + number) for number in range(3)]
        self.pictures: dict[int, Picture] = {}
        self.generations = [0, 0, 0]
        for number in range(3):
            self.rename(number)

    @property
    def now(self) -> float:
        return self.world.now

    def rename(self, client: int) -> None:
        """Give the client another username, quota key and holder; clients 0 and 1 share their keys."""
        caller, generation = self.callers[client], self.generations[client]
        key = client // 2, self.generations[0] + self.generations[1] if client < 2 else generation
        caller.username = f"user{client}@key{key}@holder{client}-{generation}"
        caller.key = stun.integrity_key(caller.username, REALM, PASSWORD)
        caller.identity = (stun.USERNAME, caller.username.encode())

    def fresh(self, client: int) -> Caller:
        caller = self.callers[client]
        caller.challenge()
        return caller

    def forget(self, client: int) -> None:
        if client in self.pictures:
            self.pictures[client].end_families(self.now)
            if not self.pictures[client].ends:
                del self.pictures[client]

    @initialize(wanted=st.tuples(*[st.sampled_from(list(WANTED))] * 3))
    def begin(self, wanted: tuple[tuple[tuple[int, bytes], ...], ...]) -> None:
        for client, each in enumerate(wanted):
            self.allocate(client, each, is_mobile=client == 0)

    @rule(client=CLIENTS, wanted=st.sampled_from(list(WANTED)), is_mobile=st.booleans())
    def allocate(self, client: int, wanted: tuple[tuple[int, bytes], ...], is_mobile: bool) -> None:
        caller = self.fresh(client)
        reply = caller.allocate([*wanted, *([(stun.MOBILITY_TICKET, b"")] if is_mobile else [])])
        code, ticket = code_of(reply), reply.first(stun.MOBILITY_TICKET)
        assert code == (437 if client in self.pictures else 0)
        assert (ticket is not None) == (is_mobile and not code)
        self.pictures.setdefault(client, Picture(WANTED[wanted], self.now + 600, ticket))
        if not code:
            assert caller.send_raw(caller.last_datagram) == [caller.last_reply]

    @rule(client=CLIENTS, lifetime_s=st.sampled_from((0, 600, 3600)), meant=st.sampled_from((IPV4, IPV6, None)))
    def refresh(self, client: int, lifetime_s: int, meant: int | None) -> None:
        families = [] if meant is None else [(stun.REQUESTED_ADDRESS_FAMILY, meant.to_bytes(1) + bytes(3))]
        code = code_of(self.fresh(client).send(stun.REFRESH, [*families, (stun.LIFETIME, lifetime_s.to_bytes(4))]))
        picture = self.pictures.get(client)
        if picture is None:
            assert code == 437
            return
        named = [each for each in picture.ends if meant in (None, each)]
        assert code == (0 if named else 443)
        picture.ends |= dict.fromkeys(named, self.now + lifetime_s)
        self.forget(client)

    @rule(client=CLIENTS)
    def move(self, client: int) -> None:
        caller, picture, old = self.callers[client], self.pictures.get(client), self.callers[client].source
        if picture is None or picture.ticket is None:
            return
        caller.source = (old[0], next(self.ports))
        reply = self.fresh(client).send(stun.REFRESH, [(stun.MOBILITY_TICKET, picture.ticket)])
        assert code_of(reply) == 0
        assert caller.send_raw(caller.last_datagram) == [caller.last_reply]
        assert not self.world.server.has_allocation((0, old))
        picture.ticket = reply.first(stun.MOBILITY_TICKET)
        picture.ends = dict.fromkeys(picture.ends, self.now + 600)

    @rule(client=CLIENTS, host=HOSTS)
    def permit(self, client: int, host: str) -> None:
        code = code_of(self.fresh(client).permit(host))
        assert code == self.code_for(client, host)
        if not code:
            self.pictures[client].permissions[host] = self.now + 300

    @rule(client=CLIENTS, number=NUMBERS, host=HOSTS, port=PORTS)
    def bind(self, client: int, number: int, host: str, port: int) -> None:
        code = code_of(self.fresh(client).bind(number, (host, port)))
        expected = self.code_for(client, host)
        if expected:
            assert code == expected
            return
        picture = self.pictures[client]
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
        found = self.world.to_peers[before:]
        assert len(found) == self.is_permitted(client, host)
        assert all(self.world.relays[relay].family == family(host) for relay, _, _ in found)

    @rule(client=CLIENTS, number=NUMBERS)
    def channel_data(self, client: int, number: int) -> None:
        before = len(self.world.to_peers)
        self.callers[client].channel_data(number, b"data")
        picture = self.pictures.get(client)
        peer, end = (None, 0.0) if picture is None else picture.binds.get(number, (None, 0.0))
        assert [peer[:2] for _, peer, _ in self.world.to_peers[before:]] == ([peer] if end > self.now else [])

    @rule(client=CLIENTS, host=HOSTS, port=PORTS)
    def from_peer(self, client: int, host: str, port: int) -> None:
        picture = self.pictures.get(client)
        if picture is None or family(host) not in picture.ends:
            return
        before = len(self.world.to_clients)
        source = (host, port) if family(host) == IPV4 else (host, port, 0, 0)
        self.world.from_peer(self.relay(client, family(host)), b"data", source)
        heads = [data[:2] for _, data in self.world.to_clients[before:]]
        numbers = [n for n, (peer, end) in picture.binds.items() if peer == (host, port) and end > self.now]
        if numbers:
            assert heads == [numbers[0].to_bytes(2)]
        else:
            assert heads == ([b"\x00\x17"] if self.is_permitted(client, host) else [])

    @rule(client=CLIENTS, how=st.sampled_from(("gone", "key", "holder")))
    def go(self, client: int, how: str) -> None:
        server, (_, key, holder) = self.world.server, self.callers[client].username.split("@")
        if how == "gone":
            self.world.perform(server.client_gone((0, self.callers[client].source), self.now))
            if client in self.pictures and self.pictures[client].ticket is None:
                del self.pictures[client]
        elif how == "key":
            self.world.perform(server.revoke(key.encode()))
            self.lose([each for each in range(3) if self.callers[each].username.split("@")[1] == key])
        else:
            self.world.perform(server.revoke_holder(holder.encode()))
            self.lose([client])

    def lose(self, doomed: list[int]) -> None:
        for each in doomed:
            assert code_of(self.fresh(each).refresh()) == 401
            assert code_of(self.callers[each].allocate()) == 401
            self.pictures.pop(each, None)
            self.generations[each] += 1
        for each in doomed:
            self.rename(each)

    @rule(seconds=st.sampled_from((1.0, 99.0, 299.0, 300.0, 599.0, 600.0)))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        for client in list(self.pictures):
            self.forget(client)

    def relay(self, client: int, wanted: int) -> int:
        allocation = self.world.server._table.by_client[(0, self.callers[client].source)]
        relayed = allocation.of_family(wanted)
        assert relayed is not None
        return relayed.relay

    def code_for(self, client: int, host: str) -> int:
        picture = self.pictures.get(client)
        if picture is None:
            return 437
        return 0 if family(host) in picture.ends else 443

    def is_permitted(self, client: int, host: str) -> bool:
        picture = self.pictures.get(client)
        return picture is not None and picture.permissions.get(host, 0.0) > self.now

    @invariant()
    def relay_sockets_are_those_of_the_allocations(self) -> None:
        assert len(self.world.relays) == sum(len(picture.ends) for picture in self.pictures.values())
        assert len(self.pictures) == self.world.stats.allocations
        for number, caller in enumerate(self.callers):
            assert self.world.server.has_allocation((0, caller.source)) == (number in self.pictures)

    @invariant()
    def nothing_is_held_for_what_has_ended(self) -> None:
        lifecycle = self.world.server._lifecycle
        assert lifecycle._ports.free_count == 100 - len({relay.port for relay in self.world.relays.values()})
        assert sum(lifecycle._desk._quotas._keys.values()) == len(self.pictures)
        assert sum(lifecycle._desk._quotas._sources.values()) == len(self.pictures)
        tickets = [picture.ticket for picture in self.pictures.values() if picture.ticket is not None]
        assert sorted(lifecycle._tickets._allocations) == sorted(tickets)
        usages = self.world.server.usage().values()
        assert sum(usage.allocations for usage in usages) == len(self.pictures)

    @invariant()
    def timer_rings_when_the_next_allocation_may_end(self) -> None:
        deadline = self.world.server.next_deadline()
        ends = [end for picture in self.pictures.values() for end in picture.ends.values()]
        assert not ends or (deadline is not None and self.now < deadline <= min(ends))


TurnMachine.TestCase.settings = hypothesis.settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTurnMachine = pytest.mark.slow(TurnMachine.TestCase)
