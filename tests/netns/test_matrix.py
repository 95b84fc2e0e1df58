"""Which pair two ICE agents select between which NATs, with which of our servers."""

import enum
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.netns.agents import Selected, Servers, connect
from tests.netns.lab import NAT_A, NAT_B, PUBLIC, PUBLIC_V6, Lab, laboratory
from tests.netns.nat import Nat
from tests.netns.serving import PORT, Served, serving
from tests.netns.table import Line, note

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

LIMIT_S = 5.0  # ICE itself takes 12 s to give up; gathering, 5 s more without an answer to UDP, is not counted


class Pair(enum.Enum):
    """The kind of the selected pair."""

    NONE = "not connected"
    DIRECT = "direct"
    DIRECT_BY_PEER_REFLEXIVE = "direct by a peer-reflexive candidate"
    RELAY = "relay"
    RELAY_TO_RELAY = "relay to relay"


class Offer(enum.Enum):
    """The servers that both agents are told of."""

    NONE = "none"
    STUN = "STUN"
    TURN_UDP = "TURN over UDP"
    TURN_UDP_ALONE = "TURN over UDP, relay only"
    TURN_UDP_REFRESHED = "TURN over UDP, relay only, refreshed"
    TURN_UDP_V6 = "TURN over UDP by IPv6, relay only"
    TURN_TCP = "TURN over TCP"
    TURN_TLS = "TURN over TLS"


class Row(msgspec.Struct, frozen=True):
    """One row of the matrix."""

    a: Nat
    b: Nat
    offer: Offer
    expected: tuple[Pair, ...]

    def __str__(self) -> str:
        return f"{self.a.value} - {self.b.value} - {self.offer.value}"


# Once one relay has a permission for the address of the other NAT, a host reaches it without a relay of its own: both
# ways work, and which check comes first differs from run to run, with coturn in our place as well.
BY_RELAY = (Pair.RELAY, Pair.RELAY_TO_RELAY)
ROWS = (
    Row(Nat.PORT_RESTRICTED, Nat.PORT_RESTRICTED, Offer.NONE, (Pair.NONE,)),
    Row(Nat.PORT_RESTRICTED, Nat.PORT_RESTRICTED, Offer.STUN, (Pair.DIRECT,)),
    Row(Nat.SYMMETRIC, Nat.PORT_RESTRICTED, Offer.STUN, (Pair.NONE,)),
    Row(Nat.SYMMETRIC, Nat.SYMMETRIC, Offer.STUN, (Pair.NONE,)),
    Row(Nat.FULL_CONE, Nat.SYMMETRIC, Offer.STUN, (Pair.DIRECT_BY_PEER_REFLEXIVE,)),
    Row(Nat.SYMMETRIC, Nat.SYMMETRIC, Offer.TURN_UDP, BY_RELAY),
    Row(Nat.SYMMETRIC, Nat.SYMMETRIC, Offer.TURN_UDP_ALONE, (Pair.RELAY_TO_RELAY,)),
    Row(Nat.PORT_RESTRICTED, Nat.SYMMETRIC, Offer.TURN_UDP, BY_RELAY),
    Row(Nat.SYMMETRIC, Nat.SYMMETRIC, Offer.TURN_UDP_REFRESHED, (Pair.RELAY_TO_RELAY,)),
    Row(Nat.SYMMETRIC, Nat.SYMMETRIC, Offer.TURN_UDP_V6, (Pair.RELAY_TO_RELAY,)),
    Row(Nat.UDP_BLOCKED, Nat.PORT_RESTRICTED, Offer.TURN_TCP, BY_RELAY),
    Row(Nat.UDP_BLOCKED, Nat.UDP_BLOCKED, Offer.TURN_TCP, (Pair.RELAY_TO_RELAY,)),
    Row(Nat.UDP_BLOCKED, Nat.SYMMETRIC, Offer.TURN_TLS, BY_RELAY),
)
# Patience takes most of their time: that of an ICE agent with checks that fail, or with a dead STUN server (5 s).
FAILING = tuple(row for row in ROWS if Pair.NONE in row.expected)
WITHOUT_UDP = tuple(row for row in ROWS if row.a is Nat.UDP_BLOCKED)
QUICK = tuple(row for row in ROWS if row not in (*FAILING, *WITHOUT_UDP))


def servers(offer: Offer, served: Served) -> Servers:
    """Agents are given STUN beside TURN, as GetIceServerConfig does."""
    at = (PUBLIC, PORT)
    turn = Servers(stun=at, turn=at, credential=served.credential(), ca_file=str(served.ca_file))
    match offer:
        case Offer.NONE:
            return Servers()
        case Offer.STUN:
            return Servers(stun=at)
        case Offer.TURN_UDP:
            return turn
        case Offer.TURN_UDP_ALONE:
            return replace(turn, is_relay_only=True)
        case Offer.TURN_UDP_REFRESHED:
            return replace(turn, is_relay_only=True, is_refreshed=True)
        case Offer.TURN_UDP_V6:
            return replace(turn, is_relay_only=True, turn=(PUBLIC_V6, PORT))
        case Offer.TURN_TCP:
            return replace(turn, transport="tcp")
        case Offer.TURN_TLS:
            return replace(turn, transport="tcp", has_tls=True)


def kind_of(one: Selected, two: Selected) -> Pair:
    """Judge what both ends say; they must agree on whether they are connected."""
    assert one.is_connected == two.is_connected
    if not one.is_connected:
        return Pair.NONE
    types = (one.local, one.remote, two.local, two.remote)
    if types == ("relay",) * 4:
        return Pair.RELAY_TO_RELAY
    if "relay" in types:
        return Pair.RELAY
    return Pair.DIRECT_BY_PEER_REFLEXIVE if "prflx" in types else Pair.DIRECT


def shown(kind: Pair, one: Selected, two: Selected) -> str:
    """Name what was seen: the kind and both ends' local and remote candidates."""
    if kind is Pair.NONE:
        return str(kind.value)
    return f"{kind.value}: {one.local}-{one.remote}, {two.local}-{two.remote}"


def tried(lab: Lab, served: Served, row: Row) -> Line:
    """Let two agents try; returns the line of the table."""
    lab.set_nat(NAT_A, row.a)
    lab.set_nat(NAT_B, row.b)
    one, two = connect(lab, servers(row.offer, served), LIMIT_S)
    are_connected = one.is_connected and two.is_connected
    if not are_connected and Pair.NONE not in row.expected:  # a busy machine gets more time
        one, two = connect(lab, servers(row.offer, served), 4 * LIMIT_S)
    seconds = max(one.gather_s, two.gather_s) + max(one.connect_s, two.connect_s)
    kind = kind_of(one, two)
    expected = " or ".join(pair.value for pair in row.expected)
    seen = shown(kind, one, two)
    return Line(ROWS.index(row), row.a.value, row.b.value, row.offer.value, expected, seen, seconds)


def is_as_expected(line: Line) -> bool:
    return line.seen.partition(":")[0] in line.expected.split(" or ")


@pytest.mark.parametrize("row", QUICK, ids=str)
def test_the_agents_select_the_expected_pair(
    lab: Lab, served: Served, row: Row, request: pytest.FixtureRequest
) -> None:
    line = tried(lab, served, row)
    note(request, line)
    assert is_as_expected(line)


def tried_apart(row: Row, home: Path) -> Line:
    """Try in a lab of its own."""
    with laboratory() as lab, serving(lab, home / str(ROWS.index(row))) as served:
        return tried(lab, served, row)


@pytest.mark.parametrize("rows", [FAILING, WITHOUT_UDP], ids=["failing", "without UDP"])
def test_the_agents_that_take_their_time_do_as_expected(
    rows: tuple[Row, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with ThreadPoolExecutor(len(rows)) as pool:
        lines = list(pool.map(tried_apart, rows, itertools.repeat(tmp_path)))
    for line in lines:
        note(request, line)
    assert not [line for line in lines if not is_as_expected(line)]
