from typing import Any

from channels.redis.clock import RedisClock


def test_it_knows_when_redis_will_be_how_late() -> None:
    now = 100.0
    clock = RedisClock(lambda: now)

    clock.learn(1_700_000_000_000)
    now = 103.0

    assert clock.at(now) == 1_700_000_003_000
    assert clock.at(now + 2.0) == 1_700_000_005_000


def test_it_learns_anew_when_redis_has_another_time() -> None:
    clock = RedisClock(lambda: 100.0)
    clock.learn(1_700_000_000_000)

    clock.learn(1_600_000_000_000)

    assert clock.at(101.0) == 1_600_000_001_000


def test_as_long_as_redis_said_nothing_nothing_is_late() -> None:
    assert RedisClock(lambda: 100.0).at(0.0) > 10_000_000_000_000


async def test_what_is_late_by_a_wrong_clock_is_asked_again_by_the_right_one() -> None:
    clock = RedisClock(lambda: 100.0)
    clock.learn(1_700_000_000_000)
    asked: list[int] = []

    async def ask(until_ms: int) -> list[Any]:
        asked.append(until_ms)
        return [b"late" if until_ms < 1_700_000_050_000 else b"done", 1_700_000_050_000]

    assert await clock.in_time(2.0, ask) == [b"done", 1_700_000_050_000]
    assert asked == [1_700_000_002_000, 1_700_000_052_000]


async def test_what_is_late_twice_is_not_done() -> None:
    async def ask(_: int) -> list[Any]:
        return [b"late", 1_700_000_000_000]

    assert await RedisClock(lambda: 100.0).in_time(2.0, ask) is None
