"""Worse networks while a block runs: loss and a narrow way. netem is missing in many kernels, nft and tbf are not."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.netns.lab import Lab
from tests.programs import require

_TABLE = """
table inet impairment {{
  chain forward {{
    type filter hook forward priority -10
    {rule}
  }}
}}
"""


class Dropped:
    """Packets that the network lost so far."""

    def __init__(self, lab: Lab, part: str) -> None:
        self._command = (*lab.within(part), "nft", "-j", "list", "table", "inet", "impairment")

    def count(self) -> int:
        """Read the counter."""
        rules = [entry["rule"] for entry in _json(self._command)["nftables"] if "rule" in entry]
        counters = [step["counter"] for rule in rules for step in rule["expr"] if "counter" in step]
        return sum(int(counter["packets"]) for counter in counters)


@contextlib.contextmanager
def loss(lab: Lab, part: str, per_cent: float) -> Iterator[Dropped]:
    """Lose packets of both directions by chance in a router."""
    with _dropping(lab, part, f"numgen random mod 1000 < {round(per_cent * 10)} counter drop") as dropped:
        yield dropped


@contextlib.contextmanager
def loss_of(lab: Lab, part: str, match: str) -> Iterator[Dropped]:
    """Lose what matches; with `quota until 300 bytes` at its end the first packets alone."""
    with _dropping(lab, part, f"{match} counter drop") as dropped:
        yield dropped


@contextlib.contextmanager
def _dropping(lab: Lab, part: str, rule: str) -> Iterator[Dropped]:
    lab.filter(part, _TABLE.format(rule=rule))
    try:
        yield Dropped(lab, part)
    finally:
        lab.filter(part, "delete table inet impairment\n")


@contextlib.contextmanager
def narrow(lab: Lab, part: str, device: str, rate: str) -> Iterator[Dropped]:
    """Let a device of a namespace send no faster than `rate` (`2mbit`), with at most 200 ms of queue."""
    require("tc")
    qdisc = (*lab.within(part), "tc", "qdisc")
    bucket = ("root", "tbf", "rate", rate, "burst", "16kb", "latency", "200ms")
    _run((*qdisc, "add", "dev", device, *bucket))
    try:
        yield Narrowed(lab, part, device)
    finally:
        _run((*qdisc, "del", "dev", device, "root"))


class Narrowed(Dropped):
    """Packets that found the queue full so far."""

    def __init__(self, lab: Lab, part: str, device: str) -> None:
        self._command = (*lab.within(part), "tc", "-s", "-j", "qdisc", "show", "dev", device)

    def count(self) -> int:
        """Read the counter."""
        return sum(int(qdisc["drops"]) for qdisc in _json(self._command))


def _json(command: tuple[str, ...]) -> Any:
    return json.loads(_run(command))


def _run(command: tuple[str, ...]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
