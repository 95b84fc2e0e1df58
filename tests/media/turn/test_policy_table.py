"""The table of peers against the core: CreatePermission, ChannelBind, Send and ChannelData agree on every address."""

import msgspec
import pytest

from media.turn import address, stun
from media.turn.address import pack
from tests.media.turn.policy_table import COLUMNS, ENTRIES, OK, OWN, Entry, render
from tests.media.turn.world import PEERS, RELAY_HOST, RULES, Caller, World, address_of, code_of

BOTH = (stun.ADDITIONAL_ADDRESS_FAMILY, b"\2\0\0\0")
CHANNEL = 0x4000


def world_of(column: str) -> World:
    """Make a world in which every row of the table has a client of its own."""
    rules, peers = COLUMNS[column]
    return World(msgspec.structs.replace(rules, first_port=50000, last_port=50499, allocations_per_key=400), peers)


def caller_in(world: World, port: int = 40000) -> Caller:
    caller = Caller(world, port=port)
    assert code_of(caller.allocate([BOTH])) == 0
    return caller


def try_all(caller: Caller, peer_address: tuple[str, int]) -> tuple[int, int, int, int]:
    """Return the codes of CreatePermission and ChannelBind, and the datagrams that Send and ChannelData brought out."""
    permission, bind = code_of(caller.permit(peer_address[0])), code_of(caller.bind(CHANNEL, peer_address))
    return permission, bind, *try_data(caller, peer_address)


def try_data(caller: Caller, peer_address: tuple[str, int]) -> tuple[int, int]:
    """Return how many datagrams Send and ChannelData brought out."""
    world = caller.world
    start = len(world.to_peers) + len(world.to_clients)
    caller.indicate(b"data", peer_address)
    middle = len(world.to_peers) + len(world.to_clients)
    caller.channel_data(CHANNEL, b"data")
    return middle - start, len(world.to_peers) + len(world.to_clients) - middle


def found(world: World, entry: Entry, port: int) -> tuple[tuple[int, int, int, int], dict[str, int], dict[str, int]]:
    """Try all ways to the peer of an entry; return the outcome, and the refusals and drops that were counted."""
    world.stats.refused_peers.clear()
    world.stats.dropped.clear()
    outcome = try_all(caller_in(world, port), (address.host_text(entry.ip), 5000))
    return outcome, dict(world.stats.refused_peers), dict(world.stats.dropped)


def expected(verdict: str) -> tuple[tuple[int, int, int, int], dict[str, int], dict[str, int]]:
    if verdict == OK:
        return (0, 0, 1, 1), {}, {}
    if verdict == OWN:
        return (0, 403, 0, 0), {OWN: 1}, {OWN: 1, "no-channel-bind": 1}
    return (403, 403, 0, 0), {verdict: 2}, {"no-permission": 1, "no-channel-bind": 1}


@pytest.mark.parametrize("column", COLUMNS)
def test_all_ways_to_a_peer_give_the_verdict_of_the_table(column: str) -> None:
    world, at = world_of(column), list(COLUMNS).index(column)
    wrong = {
        str(entry): outcome
        for number, entry in enumerate(ENTRIES)
        if (outcome := found(world, entry, 40000 + number)) != expected(entry.verdicts[at])
    }
    assert not wrong


def test_table_is_printed() -> None:
    print("\n" + render())
    assert render().count("\n") == len(ENTRIES) + 1 > 100
    assert len({entry.ip for entry in ENTRIES}) == len(ENTRIES)


def test_peer_that_a_new_list_forbids_is_reached_no_more() -> None:
    world = world_of("all named")
    named = [entry for entry in ENTRIES if entry.verdicts[2] == OK]
    callers = [(entry, caller_in(world, 40000 + number)) for number, entry in enumerate(named)]
    for entry, caller in callers:
        assert try_all(caller, (address.host_text(entry.ip), 5000)) == (0, 0, 1, 1)
    world.server.replace_addresses(PEERS, RULES.relay_ips)
    for entry, caller in callers:
        is_kept = entry.verdicts[0] == OK
        assert try_data(caller, (address.host_text(entry.ip), 5000)) == (int(is_kept), int(is_kept)), entry
        relayed = world.server._table.by_client[0, caller.source].of_family(address.family(entry.ip))
        assert relayed is not None
        before = len(world.to_clients)
        world.from_peer(relayed.relay, b"back", address.socket_address(entry.ip, 5000))
        assert len(world.to_clients) - before == int(is_kept), entry


PORTS = [
    ("default", RELAY_HOST, 3478, 403),
    ("default", RELAY_HOST, 50001, 403),
    ("default", RELAY_HOST, 22, 403),
    ("all named", RELAY_HOST, 3478, 403),
    ("all named", RELAY_HOST, 22, 403),
    ("LAN", "192.168.1.9", 3478, 403),
    ("LAN", "192.168.1.9", 22, 403),
    ("LAN", "192.168.1.20", 22, 0),
    ("loopback", "127.0.0.1", 3478, 403),
    ("loopback", RELAY_HOST, 3478, 403),
    ("loopback", "127.0.0.1", 22, 0),
    ("loopback", RELAY_HOST, 22, 0),
    ("default", "8.8.8.8", 3478, 0),
    ("default", "8.8.8.8", 0, 403),
    ("loopback", "127.0.0.1", 0, 403),
]


@pytest.mark.parametrize(("column", "host", "port", "code"), PORTS)
def test_port_of_an_own_address_is_judged_when_data_goes_there(column: str, host: str, port: int, code: int) -> None:
    world = World(*COLUMNS[column])
    outcome = try_all(caller_in(world), (host, port))
    assert outcome == (0, code, int(code == 0), int(code == 0))


@pytest.mark.parametrize("column", COLUMNS)
def test_live_relay_port_is_reached_from_another(column: str) -> None:
    world = World(*COLUMNS[column])
    one, other = caller_in(world), caller_in(world, 40001)
    relayed_address = address_of(stun.decode(other.last_reply), stun.XOR_RELAYED_ADDRESS)
    host = address_of(stun.decode(one.last_reply), stun.XOR_RELAYED_ADDRESS)[0]
    assert code_of(other.permit(host)) == 0
    assert try_all(one, relayed_address) == (0, 0, 1, 1)
    assert world.to_clients[-1][0] == other.source
    assert world.to_peers == []


def test_disguise_of_an_own_address_that_is_allowed_by_name_is_refused_all_the_same() -> None:
    named = msgspec.structs.replace(PEERS, allowed=COLUMNS["all named"][1].allowed)
    for ip in (pack("64:ff9b::c633:6407"), pack("2002:c633:6407::1")):
        assert named.refusal(ip) == "own-address"
