"""End to end behind NATs: our service in public, a master behind one, a viewer's Chromium behind the other."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest
from playwright.sync_api import Browser

from tests.chromium import Visit, chromium
from tests.netns.impairment import loss_of
from tests.netns.lab import HOST_A, HOST_B, NAT_A, NAT_B, PUB, PUBLIC, Lab, laboratory
from tests.netns.nat import Nat
from tests.netns.serving import LAB_CIDRS, PORT
from tests.netns.table import Line, note
from tests.programs import require
from tests.running import COMMAND, environment, heliograph, started

pytestmark = [pytest.mark.netns, pytest.mark.browser, pytest.mark.timeout(120)]

ENDPOINT = f"http://{PUBLIC}:8080"
CHANNEL = "lab"


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
    home = tmp_path_factory.mktemp("serve")
    data = ("--data-dir", str(home / "data"))
    words = ("--host", "0.0.0.0", "--turn-advertised-address", PUBLIC, "--allow-peer-cidrs", LAB_CIDRS)
    ports = ("--http-port", "8080", "--turn-port", str(PORT), "--ops-port", "0")
    log = home / "serve.log"
    with (
        log.open("wb") as errors,
        started("serve", *data, *words, ports=ports, home=home, stderr=errors, within=own_lab.within(PUB)),
    ):
        token = heliograph("token", "--role", "admin", *data, home=home).stdout.strip()
        variables = {"HELIOGRAPH_ENDPOINT": ENDPOINT, "HELIOGRAPH_TOKEN": token}
        made = heliograph("channel", "create", CHANNEL, variables=variables, home=home, within=own_lab.within(PUB))
        assert made.returncode == 0, made.stderr
        yield variables
    assert "Traceback" not in log.read_text()


@contextlib.contextmanager
def sending(lab: Lab, access: dict[str, str]) -> Iterator[None]:
    """Run a master behind NAT A."""
    command = [*lab.within(HOST_A), *COMMAND, "master", "--channel", CHANNEL, "--persist"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment() | access) as master:
        try:
            assert master.stderr is not None
            assert any("sends test" in line for line in master.stderr), "the master ended"
            yield
        finally:
            master.terminate()
            master.communicate(timeout=10)


@pytest.fixture(scope="module")
def browser(own_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium behind NAT B; pipes hold it, so that it needs no network to be driven."""
    home = tmp_path_factory.mktemp("chromium")
    program = home / "chromium-in-lab"
    program.write_text(f'#!/bin/sh\nexec {" ".join(own_lab.within(HOST_B))} {require("chromium")} "$@"\n')
    program.chmod(0o755)
    flags = (f"--unsafely-treat-insecure-origin-as-secure={ENDPOINT}",)
    with chromium(home, str(program), flags) as started:
        yield started


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_picture_comes_by_the_expected_path(
    own_lab: Lab, access: dict[str, str], browser: Browser, row: Row, request: pytest.FixtureRequest
) -> None:
    own_lab.set_nat(NAT_A, row.a)
    own_lab.set_nat(NAT_B, row.b)
    with sending(own_lab, access), loss_of(own_lab, NAT_B, row.blocked):
        begun = time.monotonic()
        visit = Visit(browser, ENDPOINT)
        try:
            relay = "" if row.expected == DIRECT else "&relay=1"
            visit.page.goto(f"{ENDPOINT}/viewer#channel={CHANNEL}{relay}&token={access['HELIOGRAPH_TOKEN']}")
            visit.wait("playing")
            seconds = time.monotonic() - begun
            assert visit.frames_in(1) >= 10
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
