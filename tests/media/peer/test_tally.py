from media.peer import tally
from media.peer.tally import ONE_MACHINE, Latencies, Seen, Tally
from media.sources.counter import Counter


def seen(number: int | None, wall_ms: int = 0, shown_ms: int = 0, size: int = 1000) -> Seen:
    return Seen(320, 180, size, wall_ms, None if number is None else Counter(number, shown_ms))


def test_frames_are_counted_up_to_the_wish() -> None:
    found = Tally(2)
    found.add(seen(7), 0.25, 10.0)
    assert not found.is_full
    found.add(seen(9), 0.3, 10.1)
    assert found.is_full
    assert (found.first_frame_s, found.width, found.height) == (0.25, 320, 180)
    assert (found.counter_first, found.counter_last) == (7, 9)


def test_a_picture_without_a_counter_has_no_latency() -> None:
    found = Tally(1)
    found.add(seen(None), 0.1, 10.0)
    assert (found.counter_first, found.counter_last, found.latency()) == (None, None, None)


def test_latency_is_told_with_its_error_and_whose_clocks_it_needs() -> None:
    found = Tally(100)
    for number in range(60):
        found.add(
            seen(number, 50_000 + number * 20, 50_000 + number * 20 - (40 if number == 3 else number % 10)),
            0.1,
            number / 50,
        )
    latency = found.latency()
    assert latency is not None
    assert (latency.pictures, latency.min_ms, latency.p50_ms, latency.p95_ms, latency.max_ms) == (60, 0, 5, 9, 40)
    assert (latency.error_ms, latency.clocks) == (20, "unknown")
    found.is_one_machine = True
    latency = found.latency()
    assert latency is not None
    assert latency.clocks == ONE_MACHINE


def test_latency_goes_on_across_the_wrap_of_the_clock_and_leaves_out_what_cannot_be() -> None:
    latencies = Latencies()
    latencies.add(Counter(1, (1 << 32) - 30), 7 << 32 | 20)
    latencies.add(Counter(2, 100), 90)  # from the future
    latency = latencies.summary(0.033, ONE_MACHINE)
    assert latency is not None
    assert (latency.max_ms, latencies.outside) == (50, 1)


def test_rates_are_told_by_the_second_up_to_a_bound() -> None:
    found = Tally(10**9)
    for tenth in range(25):
        found.add(seen(None, size=125), 0.1, 7.0 + tenth / 10)
    assert [(second.at_s, second.frames, second.bitrate_bps) for second in found.seconds] == [
        (1, 10, 10_000),
        (2, 10, 10_000),
        (3, 5, 5_000),
    ]
    for second in range(tally.SECONDS_LIMIT + 10):
        found.add(seen(None), 0.1, 10.0 + second)
    assert len(found.seconds) == tally.SECONDS_LIMIT
