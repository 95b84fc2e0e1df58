"""One forced key frame per window for all requests."""

from hypothesis import given
from hypothesis import strategies as st

from media.control.keyframes import WINDOW_S, KeyframeCoalescer


def test_nobody_asks_and_nothing_is_forced() -> None:
    coalescer = KeyframeCoalescer()
    assert not coalescer.take(0.0)


def test_first_request_is_honoured_at_the_next_frame() -> None:
    coalescer = KeyframeCoalescer()
    coalescer.request()
    assert coalescer.take(100.0)
    assert not coalescer.take(100.033)


def test_many_requests_make_one_key_frame() -> None:
    coalescer = KeyframeCoalescer()
    for _ in range(10):
        coalescer.request()
    assert [coalescer.take(now) for now in (0.0, 0.033, 0.5)] == [True, False, False]


def test_request_inside_the_window_is_honoured_at_its_end() -> None:
    coalescer = KeyframeCoalescer(window_s=0.3)
    coalescer.request()
    assert coalescer.take(1.0)
    coalescer.request()
    assert not coalescer.take(1.29)
    assert coalescer.take(1.3)


def test_new_encoder_answers_the_requests_so_far_without_a_window() -> None:
    coalescer = KeyframeCoalescer()
    coalescer.request()
    coalescer.restarted()
    assert not coalescer.take(0.0)
    coalescer.request()
    assert coalescer.take(0.033)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.2)), max_size=200))
def test_forced_key_frames_keep_their_distance_and_no_request_is_forgotten(steps: list[tuple[bool, float]]) -> None:
    coalescer, now, forced, asked_at = KeyframeCoalescer(), 0.0, float("-inf"), None
    for asks, gap in steps:
        now += gap
        if asks:
            coalescer.request()
            asked_at = now if asked_at is None else asked_at
        if coalescer.take(now):
            assert asked_at is not None
            assert now - forced >= WINDOW_S - 1e-9
            forced, asked_at = now, None
        assert asked_at is None or now < forced + WINDOW_S
