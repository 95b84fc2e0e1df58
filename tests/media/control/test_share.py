from media.control.share import BURST_S, DEBT_S, PART, Share


def test_who_takes_more_than_its_share_is_heard_again_once_it_is_made_up_for() -> None:
    share = Share(10.0)
    assert share.is_open(10.0)
    share.spend(BURST_S / 2)
    assert share.is_open(10.0)
    share.spend(BURST_S)
    assert not share.is_open(10.0)
    assert not share.is_open(10.0 + DEBT_S / PART - 0.1)
    assert share.is_open(10.0 + DEBT_S / PART + 0.1)
    assert share.refused == 2


def test_an_honest_viewer_is_always_heard() -> None:
    share = Share(0.0)
    for second in range(100):
        assert share.is_open(float(second))
        share.spend(PART * 0.9)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    share = Share(0.0)
    assert share.is_open(1000.0)
    share.spend(BURST_S)
    assert not share.is_open(1000.0)
