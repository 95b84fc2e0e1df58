from hypothesis import given
from hypothesis import strategies as st

from channels.signaling.deadlines import Deadlines


def test_due_keys_come_earliest_first_and_only_once() -> None:
    deadlines = Deadlines()
    for key, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        deadlines.set(key, when)

    assert deadlines.next() == 1.0
    assert deadlines.due(2.0) == ("a", "b")
    assert deadlines.due(2.0) == ()
    assert deadlines.next() == 3.0


def test_a_moved_deadline_counts_only_at_its_new_time() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.set("a", 5.0)

    assert deadlines.due(4.0) == ()
    assert deadlines.due(5.0) == ("a",)
    assert len(deadlines) == 0


def test_a_key_that_is_moved_back_and_forth_is_due_once() -> None:
    deadlines = Deadlines()
    for when in (1.0, 2.0, 1.0):
        deadlines.set("a", when)

    assert deadlines.due(9.0) == ("a",)
    assert deadlines.next() is None


def test_what_is_cancelled_takes_no_room_for_long() -> None:
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set(str(number), 1e9)
        deadlines.cancel(str(number))

    assert len(deadlines) == 0
    assert deadlines.next() is None
    assert len(deadlines._heap) < 200


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("scd"), st.sampled_from("abcdef"), st.integers(0, 20)), min_size=1, max_size=200
)


@given(OPERATIONS)
def test_it_behaves_like_a_dict_of_deadlines(operations: list[tuple[str, str, int]]) -> None:
    deadlines, model = Deadlines(), dict[str, float]()
    for kind, key, number in operations:
        if kind == "s":
            deadlines.set(key, float(number))
            model[key] = float(number)
        elif kind == "c":
            deadlines.cancel(key)
            model.pop(key, None)
        else:
            due = {name for name, when in model.items() if when <= number}
            assert set(deadlines.due(float(number))) == due
            model = {name: when for name, when in model.items() if name not in due}
        assert deadlines.next() == min(model.values(), default=None)
        assert len(deadlines) == len(model)
