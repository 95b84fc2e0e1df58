from media.rtp.playout import AT_ONCE, EVENED, Playout


def test_pictures_are_shown_at_once_while_the_way_is_even() -> None:
    playout = Playout()
    assert playout.value == AT_ONCE
    assert not playout.observe(0.0, 0.03, None, 1.0)
    assert not playout.observe(0.2, 0.005, 0.002, 2.0)  # repaired before the next picture
    assert not playout.observe(0.2, 0.005, None, 3.0)
    assert playout.value == AT_ONCE


def test_an_uneven_way_or_late_repairs_are_evened_out_until_it_was_calm_for_a_while() -> None:
    playout = Playout()
    assert playout.observe(0.0, 0.05, 0.002, 1.0)
    assert playout.value == EVENED
    assert not playout.observe(0.05, 0.001, 0.08, 5.0)
    assert not playout.observe(0.0, 0.001, 0.08, 15.0)
    assert playout.observe(0.0, 0.001, 0.08, 15.1)
    assert playout.value == AT_ONCE
