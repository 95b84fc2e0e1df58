import contextlib
import logging

import msgspec
import pytest

from channels.errors import ClientLimitExceededException
from channels.names import Role
from channels.signaling.gate import FIGHT_WINDOW_S, Gates, channel_is_full
from channels.signaling.limits import Limits, Meter
from channels.signaling.members import Connect
from tests.channels.signaling.rig import channel

MASTER = Connect(channel(), Role.MASTER, source="198.51.100.7")
VIEWER = Connect(channel(), Role.VIEWER, "v1")
ARN = str(channel().arn)


def passed(gates: Gates, connect: Connect, now: float, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            gates.take(connect, now)
        except ClientLimitExceededException:
            continue
        count += 1
    return count


def test_masters_are_held_to_three_per_second() -> None:
    gates = Gates(Limits.aws())

    assert passed(gates, MASTER, 0.0, 20) == 3
    assert sum(passed(gates, MASTER, tick / 10, 5) for tick in range(1, 51)) == 15


def test_the_refusal_names_the_limit_and_when_to_come_back() -> None:
    gates = Gates(Limits.aws())
    passed(gates, MASTER, 0.0, 3)

    with pytest.raises(ClientLimitExceededException, match="master_connects_per_second is 3") as caught:
        gates.take(MASTER, 0.0)

    limit = caught.value.limit
    assert limit is not None
    assert limit.retry_after_s == pytest.approx(1 / 3)
    gates.take(MASTER, limit.retry_after_s + 1e-9)


def test_viewers_have_a_rate_of_their_own() -> None:
    gates = Gates(Limits.aws())
    passed(gates, MASTER, 0.0, 3)

    assert passed(gates, VIEWER, 0.0, 30) == 20


def test_other_channels_are_not_held_back() -> None:
    gates = Gates(Limits.aws())
    passed(gates, MASTER, 0.0, 3)

    gates.take(Connect(channel("other"), Role.MASTER), 0.0)


def test_a_look_takes_nothing() -> None:
    gates = Gates(Limits.aws())
    gates.check(ARN, Role.MASTER, 0.0)
    assert len(gates) == 0
    passed(gates, MASTER, 0.0, 2)
    for _ in range(5):
        gates.check(ARN, Role.MASTER, 0.0)
    gates.take(MASTER, 0.0)

    with pytest.raises(ClientLimitExceededException):
        gates.check(ARN, Role.MASTER, 0.0)


def test_a_connect_that_failed_for_another_reason_is_given_back() -> None:
    gates = Gates(Limits.aws())
    for _ in range(10):
        gates.take(MASTER, 0.0)
        gates.give_back(MASTER)
    gates.give_back(Connect(channel("unknown"), Role.MASTER))


def test_masters_that_compete_are_named_once_per_window(caplog: pytest.LogCaptureFixture) -> None:
    gates = Gates(Limits.aws())
    with caplog.at_level(logging.WARNING):
        passed(gates, MASTER, 0.0, 50)
        passed(gates, MASTER, FIGHT_WINDOW_S / 2, 50)
        passed(gates, MASTER, FIGHT_WINDOW_S, 50)

    records = [record for record in caplog.records if "compete" in record.message]
    named = [(r.channel, r.source, r.sources) for r in records]  # type: ignore[attr-defined]
    assert named == [(str(channel().arn), "198.51.100.7", ["198.51.100.7"])] * 2
    assert records[1].refused > 50  # type: ignore[attr-defined]


def test_both_sides_of_a_fight_are_named(caplog: pytest.LogCaptureFixture) -> None:
    gates = Gates(Limits.aws())
    sources = [*(f"192.0.2.{number}" for number in range(9)), "198.51.100.7", "203.0.113.9", None]
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            for source in sources[number * 3 : number * 3 + 3]:
                with contextlib.suppress(ClientLimitExceededException):
                    gates.take(msgspec.structs.replace(MASTER, source=source), number / 100)
        for source in ("198.51.100.7", "203.0.113.9", "198.51.100.7", "203.0.113.9"):
            with contextlib.suppress(ClientLimitExceededException):
                gates.take(msgspec.structs.replace(MASTER, source=source), FIGHT_WINDOW_S + 0.5)

    last = [record for record in caplog.records if "compete" in record.message][-1]
    assert last.sources == ["192.0.2.7", "192.0.2.8", "198.51.100.7", "203.0.113.9"]  # type: ignore[attr-defined]


def test_channels_left_alone_are_forgotten() -> None:
    gates = Gates(Limits.aws())
    gates.take(VIEWER, 0.0)
    gates.tidy(0.1)
    assert len(gates) == 1

    gates.tidy(20.0)

    assert len(gates) == 0


def test_tidying_a_busy_table_looks_at_few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = Gates(Limits.aws())
    for number in range(1000):
        gates.take(Connect(channel(f"c{number}"), Role.VIEWER, "v"), number / 100)
    looks = []
    is_full = Meter.is_full
    monkeypatch.setattr(Meter, "is_full", lambda self, now: (looks.append(now), is_full(self, now))[1])
    gates.tidy(10.0)

    assert len(looks) < 3100  # three for each that is forgotten
    looks.clear()
    for _ in range(100):
        gates.tidy(10.0)
    assert len(looks) <= 300
    gates.tidy(30.0)
    assert len(gates) == 0


def test_the_channel_that_was_used_last_stays_when_the_table_is_full() -> None:
    gates = Gates(Limits.aws(), gate_limit=2)
    passed(gates, MASTER, 0.0, 3)
    gates.take(Connect(channel("c1"), Role.VIEWER, "v"), 0.0)
    passed(gates, MASTER, 0.0, 1)
    gates.take(Connect(channel("c2"), Role.VIEWER, "v"), 0.0)

    assert passed(gates, MASTER, 0.0, 3) == 0


def test_the_table_is_bounded() -> None:
    gates = Gates(Limits.aws(), gate_limit=3)
    for number in range(10):
        gates.take(Connect(channel(f"c{number}"), Role.VIEWER, "v"), 0.0)

    assert len(gates) == 3


def test_the_relaxed_profile_has_no_rate() -> None:
    gates = Gates(Limits.relaxed())

    assert passed(gates, MASTER, 0.0, 100) == passed(gates, VIEWER, 0.0, 100) == 100
    gates.give_back(MASTER)
    gates.check(ARN, Role.MASTER, 0.0)


def test_a_full_channel_is_refused_with_the_number_of_viewers() -> None:
    error = channel_is_full(Limits.aws())

    assert error.limit is not None
    assert (error.limit.name, error.limit.value, error.limit.retry_after_s) == ("viewers_per_channel", 10, None)
    assert "10 viewers" in error.message
