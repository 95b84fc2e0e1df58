"""Who may stay without an allocation, and how long."""

from media.turn.admission import Admission, StreamBounds

BOUNDS = StreamBounds(unauthenticated_per_source=2, unauthenticated=3)
A, B, C = ("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 1)


def test_source_has_its_share_and_gets_it_back() -> None:
    admission = Admission(BOUNDS)
    admission.arrive(1, A, 0.0)
    assert not admission.is_full(A)
    admission.arrive(2, ("192.0.2.1", 2), 0.0)
    assert (admission.is_full(A), admission.is_full(B)) == (True, False)
    admission.remove(1)
    admission.remove(1)
    assert not admission.is_full(A)
    admission.remove(2)
    assert len(admission) == 0


def test_ipv6_source_is_a_network() -> None:
    admission = Admission(BOUNDS)
    admission.arrive(1, ("2001:db8::1", 1, 0, 0), 0.0)
    admission.arrive(2, ("2001:db8::2", 1, 0, 0), 0.0)
    assert admission.is_full(("2001:db8::ffff", 1, 0, 0))
    assert not admission.is_full(("2001:db8:0:1::1", 1, 0, 0))


def test_network_that_knocked_too_often_waits_and_others_do_not() -> None:
    admission = Admission(StreamBounds(arrivals_per_s=2.0, arrivals_burst=3.0))
    assert [admission.may_knock(source, 1000.0) for source in (A, B, A, C)] == [True, True, True, False]
    assert admission.may_knock(("198.51.100.1", 1), 1000.0)
    assert [admission.may_knock(C, 1000.5), admission.may_knock(C, 1000.5)] == [True, False]


def test_oldest_makes_room() -> None:
    admission = Admission(BOUNDS)
    assert [admission.arrive(count, source, 0.0) for count, source in enumerate((A, B, C))] == [None] * 3
    assert admission.arrive(3, C, 0.0) == 0
    admission.remove(0)
    admission.remove(1)
    assert admission.arrive(4, A, 0.0) is None


def test_half_open_ones_have_less_time() -> None:
    admission = Admission(BOUNDS)
    for number, now in ((1, 0.0), (2, 0.0), (3, 1.0)):
        admission.arrive(number, A, now)
    admission.open(2)
    admission.open(2)
    assert admission.half_open_too_long(9.9) == []
    assert admission.half_open_too_long(10.0) == [1]
    assert admission.half_open_too_long(11.0) == [1, 3]
    assert admission.strange_too_long(29.9) == []
    assert admission.strange_too_long(30.0) == [1, 2]


def test_time_begins_anew_when_an_allocation_ended() -> None:
    admission = Admission(BOUNDS)
    admission.arrive(1, A, 0.0)
    admission.remove(1)
    assert admission.strange_too_long(1e9) == admission.half_open_too_long(1e9) == []
    admission.estrange(1, A, 100.0)
    assert (admission.strange_too_long(129.9), admission.strange_too_long(130.0)) == ([], [1])
    assert admission.half_open_too_long(1e9) == []
