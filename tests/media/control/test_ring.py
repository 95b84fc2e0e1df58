"""A ring gives up the oldest first, by age and by size."""

from media.control.ring import Ring, RingLimits


def filled(limits: RingLimits, count: int = 6) -> Ring[int]:
    """Pieces of 10 s and 100 bytes, three an hour, the first one ending at 10 s."""
    ring: Ring[int] = Ring(limits)
    for number in range(count):
        ring.add(f"hour-{number // 3}", number, 10.0 * (number + 1), 100)
    return ring


def told(ring: Ring[int], now_s: float) -> list[int]:
    """What is given up at `now_s`, told the pieces of each hour as a disk would."""
    given: list[int] = []
    while True:
        hour = ring.unread(now_s)
        if hour is not None:
            first = int(hour.removeprefix("hour-")) * 3
            ring.read((number, 10.0 * (number + 1), 100) for number in range(first, first + 3))
        given += ring.overdue(now_s)
        if ring.drop_empty() is None:
            return given


def test_without_limits_all_is_kept_and_nothing_is_asked() -> None:
    ring = filled(RingLimits())
    assert ring.unread(1e12) is None
    assert ring.overdue(1e12) == []
    assert ring.drop_empty() is None


def test_what_is_too_old_goes_oldest_first() -> None:
    ring = filled(RingLimits(max_age_s=25))
    assert told(ring, 60.1) == [0, 1, 2]
    assert ring.size_bytes == 300
    assert told(ring, 65.1) == [3]
    assert ring.left() == [4, 5]


def test_what_is_too_much_goes_but_never_the_newest() -> None:
    ring = filled(RingLimits(max_bytes=250))
    assert told(ring, 0) == [0, 1, 2, 3]
    tiny = filled(RingLimits(max_bytes=1), count=3)
    assert told(tiny, 0) == [0, 1]
    assert tiny.size_bytes == 100


def test_for_once_less_may_be_left_than_the_limit_says() -> None:
    ring = filled(RingLimits(max_bytes=1_000))
    assert ring.unread(0, 450) == "hour-0"
    ring.read((number, 10.0 * (number + 1), 100) for number in range(3))
    assert ring.overdue(0, 450) == [0, 1]
    assert ring.overdue(0) == []
    assert filled(RingLimits(max_bytes=450)).unread(0, 1_000) == "hour-0", "the limit stays one"


def test_a_piece_that_comes_while_its_hour_is_known_is_known_too() -> None:
    ring = filled(RingLimits(max_bytes=300), count=3)
    assert told(ring, 0) == []
    ring.add("hour-1", 3, 40.0, 100)
    assert told(ring, 0) == [0]
    ring.add("hour-1", 4, 50.0, 100)
    assert ring.overdue(0) == [1]


def test_an_hour_of_the_disk_counts_and_the_disk_knows_best() -> None:
    ring: Ring[int] = Ring(RingLimits(max_bytes=1_000))
    ring.add_hour("hour-0", 0.0, 900)
    ring.add("hour-1", 3, 40.0, 300)
    assert ring.unread(0) == "hour-0"
    ring.read([(0, 10.0, 100)])
    assert (ring.size_bytes, ring.overdue(0)) == (400, [])
    ring.clear()
    assert (ring.size_bytes, ring.unread(1e12)) == (0, None)
