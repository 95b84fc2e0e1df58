import pytest

from media.peer.liveness import Liveness


def test_a_viewer_of_whom_nothing_is_heard_is_asked_and_then_gone() -> None:
    viewer = Liveness(6.0, 10.0)
    assert not viewer.must_ask(11.9)
    assert viewer.must_ask(12.0)
    assert viewer.deadline == 16.0


def test_an_answer_to_a_check_is_enough_for_a_viewer_that_never_reports() -> None:
    viewer = Liveness(6.0, 10.0)
    viewer.heard(15.0)
    assert not viewer.must_ask(16.9)
    assert viewer.deadline == 21.0


def test_a_viewer_whose_reports_stop_is_gone_though_it_answers_checks() -> None:
    viewer = Liveness(6.0, 10.0)
    for now in (11.0, 12.0):
        viewer.reported(now, is_regular=True)
    viewer.heard(17.0)
    assert viewer.deadline == 18.0
    viewer.reported(17.5, is_regular=False)
    assert viewer.deadline == 23.5


@pytest.mark.parametrize(("regular", "deadline"), [((False, False, False), 25.0), ((True, False), 25.0)])
def test_single_reports_and_those_for_sound_promise_no_more(regular: tuple[bool, ...], deadline: float) -> None:
    viewer = Liveness(6.0, 10.0)
    for is_regular in regular:
        viewer.reported(11.0, is_regular=is_regular)
    viewer.heard(19.0)
    assert viewer.deadline == deadline


def test_a_short_limit_asks_early_enough() -> None:
    assert Liveness(0.3, 0.0).must_ask(0.1)
