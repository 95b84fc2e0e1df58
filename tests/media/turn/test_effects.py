"""Counters of the relay."""

from media.turn.effects import TurnStats


def test_dropped_datagrams_are_counted_by_reason() -> None:
    stats = TurnStats()
    stats.drop("rate")
    stats.drop("rate")
    stats.drop("noise")
    assert stats.dropped == {"rate": 2, "noise": 1}
    assert TurnStats().dropped == {}
