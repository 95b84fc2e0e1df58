"""`heliograph turn check` from behind a NAT: what it says of a good server, of closed relay ports, and without UDP."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import HOST_A, NAT_A, PUB, PUBLIC, WAN, Lab
from tests.netns.nat import Nat
from tests.netns.serving import PORT, Served
from tests.running import COMMAND, environment

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

_CLOSED = """
table inet relays {
  chain input { type filter hook input priority 0; udp dport 49160-49559 drop; }
}
"""


def checked(lab: Lab, served: Served, home: Path, uri: str, limit_s: str = "4") -> dict[str, dict[str, Any]]:
    """Return the steps of each way by name; an answer that does not come is waited for so long."""
    username, password = served.credential()
    words = ("turn", "check", uri, "--username", username, "--password", password, "--timeout", limit_s, "--json")
    command = [*lab.within(HOST_A), *COMMAND, *words]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=50, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1)
    return {attempt["way"]: {step["name"]: step for step in attempt["steps"]} for attempt in answer["attempts"]}


def results(steps: dict[str, Any]) -> dict[str, str]:
    return {name: step["result"] for name, step in steps.items()}


def test_a_good_server_passes_from_behind_a_nat(lab: Lab, served: Served, tmp_path: Path) -> None:
    ways = checked(lab, served, tmp_path, f"turn:{PUBLIC}:{PORT}", "20")
    assert ways.keys() == {"UDP", "TCP"}
    for steps in ways.values():
        assert set(results(steps).values()) == {"ok"}, steps
        assert steps["relay ports"]["seen"].startswith(f"one datagram from {WAN[NAT_A]}:")
        assert steps["relay ports"]["seen"].endswith(" in and one out")
    assert f"sees us as {WAN[NAT_A]}:" in ways["UDP"]["reach"]["seen"]


def test_relay_ports_behind_a_firewall_are_named(lab: Lab, served: Served, tmp_path: Path) -> None:
    lab.filter(PUB, _CLOSED)
    try:
        ways = checked(lab, served, tmp_path, f"turn:{PUBLIC}:{PORT}")
    finally:
        lab.filter(PUB, "flush ruleset")
    for steps in ways.values():
        assert steps["channel"]["result"] == "ok", "one relay reaches the other on the server itself"
        assert steps["relay ports"]["result"] == "failed"
        assert "--turn-min-port to --turn-max-port" in steps["relay ports"]["fix"]


def test_where_udp_is_blocked_the_relay_ports_are_not_blamed(lab: Lab, served: Served, tmp_path: Path) -> None:
    lab.set_nat(NAT_A, Nat.UDP_BLOCKED)
    ways = checked(lab, served, tmp_path, f"turn:{PUBLIC}:{PORT}")
    assert ways["UDP"]["reach"]["result"] == "failed"
    assert "firewall drops UDP" in ways["UDP"]["reach"]["cause"]
    assert ways["TCP"]["relay ports"]["seen"] == "no UDP reaches the server from here: this network may let none out"
    assert set(results(ways["TCP"]).values()) == {"ok", "skipped"}
