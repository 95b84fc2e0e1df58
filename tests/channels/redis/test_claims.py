from channels.names import Role
from channels.presence import Holder, Lease
from channels.redis.claims import Claims, parse_holder, slot_of


def holder(fence: int, client_id: str = "v1") -> Holder:
    return Holder(Role.VIEWER, client_id, "a", f"a-{fence}", fence)


def claims(*holders: Holder) -> Claims:
    made = Claims()
    for each in holders:
        made.add("demo", each)
    return made


def test_a_holder_is_read_as_redis_has_it() -> None:
    value = b"1700000000000 1700000000000123 node-b node-b-77"

    assert parse_holder("master", value) == Holder(Role.MASTER, "", "node-b", "node-b-77", 1700000000000123)
    assert parse_holder(slot_of(Role.VIEWER, "master"), value).client_id == "master"


def test_every_claim_is_in_doubt_until_redis_was_asked_after_the_doubt() -> None:
    first, second = holder(1), holder(2, "v2")
    made = claims(first, second)
    assert made.doubted("demo") == ()
    made.doubt()
    asked = made.doubts
    made.trust("demo", [first], asked)
    assert made.doubted("demo") == (second,)

    made.doubt()
    made.trust("demo", [first, second], asked)
    assert made.doubted("demo") == (first, second)
    made.trust("demo", [first, second], made.doubts)
    assert made.doubted("demo") == ()


def test_what_left_is_neither_held_nor_in_doubt() -> None:
    first, second = holder(1), holder(2, "v2")
    made = claims(first, second)
    made.doubt()

    made.remove("demo", first)

    assert made.doubted("demo") == (second,)
    made.remove("demo", second)
    assert len(made) == 0


def test_what_leaves_during_a_renewal_is_not_renewed_and_what_was_under_way_is_known() -> None:
    first, second = holder(1), holder(2, "v2")
    made = claims(first, second)
    with made.renewing():
        with made.renewing():
            made.remove("demo", first)

        assert made.still([Lease("demo", first), Lease("demo", second)]) == [Lease("demo", second)]
        assert made.gone("demo", [first, second]) == [first]
    assert made.gone("demo", [first]) == []


def test_a_claim_that_redis_did_not_give_is_taken_in_by_its_first_renewal() -> None:
    made = claims()
    local = holder(7)

    with made.renewing():
        made.still([Lease("demo", local)])
        made.still([Lease("demo", local)])

    assert len(made) == 1


def test_what_was_not_answered_is_taken_back_until_it_is_over() -> None:
    made = claims()
    made.undo("demo", "viewer:v1", "a-1", 0, until=115.0)
    made.undo("demo", "viewer:v2", "a-2", 5, until=116.0)

    assert made.undone(110.0) == [(("demo", "viewer:v1", "a-1"), 0), (("demo", "viewer:v2", "a-2"), 5)]
    made.done(("demo", "viewer:v1", "a-1"))
    made.done(("demo", "viewer:v1", "a-1"))
    assert made.undone(115.9) == [(("demo", "viewer:v2", "a-2"), 5)]
    assert made.undone(116.0) == []


def test_what_has_to_be_taken_back_is_bounded_and_comes_in_parts() -> None:
    made = claims()
    for number in range(10_005):
        made.undo("demo", "master", f"a-{number}", 0, until=115.0)

    part = made.undone(100.0)

    assert len(made) == 10_000
    assert len(part) == 100
    assert part[0] == (("demo", "master", "a-5"), 0)
