from app.virtual_clock import VirtualClock


def test_it_runs_with_the_real_one_from_where_it_was_moved_to() -> None:
    real = [100.0]
    clock = VirtualClock(lambda: real[0])
    assert clock.now() == 100.0
    clock.advance(3600.0)
    clock.advance(0.5)
    real[0] += 1.0
    assert (clock.now(), clock.offset_s) == (3701.5, 3600.5)
    clock.reset()
    assert (clock.now(), clock.offset_s) == (101.0, 0.0)
