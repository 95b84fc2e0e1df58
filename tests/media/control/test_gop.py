import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.control.gop import LONG, SPREAD_S, GopCache, Replay, Span
from media.rtp.packetize import PacketizedUnit

LATENCY_S = 0.004


def unit(number: int, *, is_key: bool = False, size: int = 10) -> PacketizedUnit:
    at = number / 30
    return PacketizedUnit((b"x",), number * 3000, is_key, at, size, packetized_at=at + LATENCY_S)


def test_the_cache_holds_the_last_key_frame_and_all_since() -> None:
    cache = GopCache(LONG)
    cache.keep(unit(0))
    assert cache.since_key(0.0) == ()
    for number in range(1, 9):
        cache.keep(unit(number, is_key=number % 4 == 1))
    assert [kept.timestamp // 3000 for kept in cache.since_key(0.3)] == [5, 6, 7, 8]
    cache.clear()
    assert cache.since_key(0.3) == ()


def test_what_outgrows_the_span_is_given_up_until_the_next_key_frame() -> None:
    cache = GopCache(Span(1.0, 100))
    cache.keep(unit(0, is_key=True))
    assert len(cache.since_key(1.0)) == 1
    assert cache.since_key(1.01) == ()
    cache.keep(unit(1, size=91))  # too large
    assert cache.since_key(0.1) == ()
    cache.keep(unit(2, is_key=True))
    cache.keep(unit(33))  # too late
    assert cache.since_key(0.1) == ()


@pytest.mark.parametrize("count", [1, 5, 60])
def test_a_replay_takes_no_longer_than_its_spread_and_meets_the_stream(count: int) -> None:
    units = tuple(unit(number, is_key=number == 0) for number in range(count))
    began = units[-1].packetized_at + 0.01
    replay = Replay(units, 90_000, began)
    (first,) = replay.due(began, 7)
    assert (first.is_key, first.ntp) == (True, 7)
    sent, live, now = [first], count, began
    while not replay.is_done:
        now = replay.next_at
        while unit(live).packetized_at <= now:
            replay.push(unit(live))
            live += 1
        sent += replay.due(now, 7)
    assert now - began <= SPREAD_S * 1.2 + 1 / 30
    assert len(sent) == live
    stamps = [each.timestamp for each in [*sent, unit(live)]]
    assert all(earlier < later for earlier, later in itertools.pairwise(stamps))
    for each in sent:  # on the clock of the stream: what is sent now is stamped as taken a latency ago
        assert each.timestamp == pytest.approx((each.packetized_at - LATENCY_S) * 90_000, abs=1)
        assert each.captured_at == pytest.approx(each.packetized_at - LATENCY_S)


def test_a_key_frame_of_the_stream_makes_the_rest_superfluous() -> None:
    replay = Replay((unit(0, is_key=True), unit(1), unit(2)), 90_000, 1.0)
    replay.due(1.0, 0)
    replay.push(unit(3, is_key=True))
    assert [each.is_key for each in replay.due(9.0, 0)] == [True]
    assert replay.is_done


@given(st.integers(1, 80), st.lists(st.floats(0, 0.05), max_size=60))
def test_whenever_it_is_asked_a_replay_gives_every_unit_once_in_order(count: int, waits: list[float]) -> None:
    replay, sent, now = Replay(tuple(unit(number) for number in range(count)), 90_000, 0.0), 0, 0.0
    for wait in waits:
        now += wait
        sent += len(replay.due(now, 0))
    sent += len(replay.due(now + 10, 0))
    assert (sent, replay.is_done) == (count, True)
