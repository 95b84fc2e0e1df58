from media.rtp.repair import MESSAGE_LIMIT, NACK_LIMIT, TRIES, Repair


def test_a_missing_packet_is_asked_for_at_once_and_again_with_longer_pauses() -> None:
    repair, asked, now = Repair(), [], 0.0
    assert repair.miss(5, 6, now)
    for _ in range(TRIES + 1):
        assert repair.next_deadline is not None
        now = repair.next_deadline
        if repair.due(now):
            asked.append(round(now, 2))
    assert asked[:5] == [0.0, 0.04, 0.12, 0.28, 0.48]
    assert (len(asked), len(repair), repair.next_deadline) == (TRIES, 0, None)


def test_what_came_or_is_not_needed_any_more_is_not_asked_for() -> None:
    repair = Repair()
    repair.miss(1, 6, 0.0)
    assert not repair.found(4)  # late, not repaired
    repair.forget(3)
    assert repair.due(0.0) == [3, 5]
    assert repair.found(3)
    assert not repair.found(99)
    assert repair.due(0.05) == [5]


def test_too_many_are_given_up_at_once() -> None:
    repair = Repair()
    assert repair.miss(0, NACK_LIMIT, 0.0)
    assert len(repair.due(0.0)) == MESSAGE_LIMIT
    assert len(repair.due(0.0)) == MESSAGE_LIMIT
    assert not repair.miss(NACK_LIMIT, NACK_LIMIT + 1, 0.0)
    assert len(repair) == 0
