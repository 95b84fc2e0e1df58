"""A short attack on the whole relay; `make fuzz` makes the long one."""

from collections import Counter

import pytest

from tests.fuzz.run import Counts, attack

ATTACKS = {
    "datagrams": Counts(datagrams=100_000, streams=0, records=0),
    "streams": Counts(datagrams=0, streams=10_000, records=0),
    "dtls": Counts(datagrams=0, streams=0, records=20_000),
}


def quiet(_share: float, _counts: Counter[str]) -> None:
    pass


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ATTACKS)
def test_relay_survives_an_attack_and_keeps_nothing_of_it(name: str) -> None:
    outcome = attack(ATTACKS[name], 4, quiet)
    outcome.check()
    relay = outcome.stats
    reached = {
        "datagrams": (outcome.counts.get("signed replies", 0), relay["packets_to_peers"], relay["bindings_total"]),
        "streams": (relay["connections_total"].get("tcp", 0), relay["connections_total"].get("tls", 0)),
        "dtls": (relay["connections_total"].get("dtls", 0), outcome.counts.get("messages to dtls clients", 0)),
    }
    assert min(reached[name]) > 25, reached  # deep enough to mean something
    assert relay["allocations_total"] > 25


@pytest.mark.slow
def test_same_seed_makes_the_same_attack() -> None:
    first, again = (attack(Counts(2000, 0, 0), 9, quiet) for _ in range(2))
    assert {name: first.counts[name] for name in ("datagrams", "replies", "signed replies")} == {
        name: again.counts[name] for name in ("datagrams", "replies", "signed replies")
    }
