"""End to end behind NATs: our service in public, a master behind one, a viewer's Chromium behind the other."""

import time
from collections.abc import Iterator

import msgspec
import pytest
from playwright.sync_api import Browser

from tests.chromium import Visit
from tests.netns.impairment import loss_of
from tests.netns.lab import HOST_A, HOST_B, NAT_A, NAT_B, Lab, laboratory
from tests.netns.nat import Nat
from tests.netns.service import CHANNEL, ENDPOINT, browsing, sending, service
from tests.netns.serving import PORT
from tests.netns.table import Line, note

pytestmark = [pytest.mark.netns, pytest.mark.browser, pytest.mark.alone, pytest.mark.timeout(240)]

DIRECT, RELAY_UDP, RELAY_TCP = "direct", "relay udp", "relay tcp"


class Row(msgspec.Struct, frozen=True):
    """Master behind NAT A, viewer behind NAT B, what is blocked besides, and the viewer's end of the selected pair."""

    a: Nat
    b: Nat
    blocked: str
    expected: str

    def __str__(self) -> str:
        return f"{self.a.value} - {self.b.value} - {self.expected}"


NO_TURN_TCP = f"tcp dport {PORT}"
ROWS = (
    Row(Nat.PORT_RESTRICTED, Nat.PORT_RESTRICTED, NO_TURN_TCP, DIRECT),
    Row(Nat.SYMMETRIC, Nat.SYMMETRIC, NO_TURN_TCP, RELAY_UDP),
    Row(Nat.SYMMETRIC, Nat.UDP_BLOCKED, "meta l4proto udp", RELAY_TCP),
)
FIRST_PLACE = 100  # in the table, behind the agents


@pytest.fixture(scope="module")
def own_lab() -> Iterator[Lab]:
    with laboratory() as lab:
        yield lab


@pytest.fixture(scope="module")
def access(own_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service in the public network; gives the variables of those who use it."""
    with service(own_lab, tmp_path_factory.mktemp("serve")) as variables:
        yield variables


@pytest.fixture(scope="module")
def browser(own_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium behind NAT B."""
    with browsing(own_lab, tmp_path_factory.mktemp("chromium"), HOST_B) as (started,):
        yield started


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_picture_comes_by_the_expected_path(
    own_lab: Lab, access: dict[str, str], browser: Browser, row: Row, request: pytest.FixtureRequest
) -> None:
    own_lab.set_nat(NAT_A, row.a)
    own_lab.set_nat(NAT_B, row.b)
    with sending(own_lab, HOST_A, access), loss_of(own_lab, NAT_B, row.blocked):
        begun = time.monotonic()
        visit = Visit(browser, ENDPOINT)
        try:
            relay = "" if row.expected == DIRECT else "&relay=1"
            visit.page.goto(f"{ENDPOINT}/viewer#channel={CHANNEL}{relay}&token={access['HELIOGRAPH_TOKEN']}")
            visit.wait("playing")
            seconds = time.monotonic() - begun
            visit.decodes(10)
            pair = visit.selected_pair()
            visit.assert_clean(access["HELIOGRAPH_TOKEN"])
        finally:
            visit.context.close()
    seen = f"relay {pair['relayProtocol']}" if pair["local"] == "relay" else "direct"
    both = f"{seen}: {pair['local']}-{pair['remote']}"
    servers = f"STUN and TURN, Chromium, {'any way' if row.expected == DIRECT else 'relay only'}, no {row.blocked}"
    place = FIRST_PLACE + ROWS.index(row)
    note(request, Line(place, row.a.value, row.b.value, servers, row.expected, both, seconds))
    assert seen == row.expected
    assert row.expected != DIRECT or "relay" not in pair.values()
