"""Counters of the relay."""

from media.turn.effects import TurnStats


def test_dropped_datagrams_are_counted_by_reason() -> None:
    stats = TurnStats()
    stats.drop("rate")
    stats.drop("rate")
    stats.drop("noise")
    assert stats.dropped == {"rate": 2, "noise": 1}
    assert TurnStats().dropped == {}


def test_connections_are_counted_as_they_come_and_go() -> None:
    stats = TurnStats()
    stats.connected("tls", 1)
    stats.connected("tls", 1)
    stats.connected("tls", -1)
    stats.refuse("per-source")
    stats.fail_handshake("timeout")
    assert (stats.connections, stats.connections_total) == ({"tls": 1}, {"tls": 2})
    assert (stats.connections_refused, stats.handshake_failures) == ({"per-source": 1}, {"timeout": 1})
