from media.peer.description import Candidate
from media.peer.early import CLIENTS, KEPT_S, PER_CLIENT, EarlyCandidates


def numbered(number: int) -> Candidate:
    return Candidate(None, str(number))


def test_candidates_wait_in_order_for_their_own_viewer() -> None:
    early = EarlyCandidates()
    for number in range(3):
        assert early.keep("v1", numbered(number), 0.0)
    early.keep("v2", numbered(9), 0.0)
    assert early.take("v1", 1.0) == [numbered(0), numbered(1), numbered(2)]
    assert early.take("v1", 1.0) == []
    assert early.take("v2", 1.0) == [numbered(9)]


def test_a_viewer_is_held_to_its_bound() -> None:
    early = EarlyCandidates()
    kept = [early.keep("v1", numbered(number), 0.0) for number in range(PER_CLIENT + 1)]
    assert kept == [True] * PER_CLIENT + [False]


def test_the_number_of_viewers_is_bounded_until_some_expire() -> None:
    early = EarlyCandidates()
    assert all(early.keep(f"v{number}", numbered(0), 0.0) for number in range(CLIENTS))
    assert not early.keep("one more", numbered(0), KEPT_S - 0.1)
    assert early.keep("one more", numbered(0), KEPT_S)


def test_they_are_dropped_when_no_offer_comes_in_time() -> None:
    early = EarlyCandidates()
    early.keep("v1", numbered(0), 0.0)
    early.keep("v1", numbered(1), KEPT_S - 0.1)
    assert early.take("v1", KEPT_S) == []
