from hypothesis import given
from hypothesis import strategies as st

from channels.signaling.bearers import Bearers


class Bearer:
    """Equal to every other one: identity alone tells them apart."""

    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


BEARERS = [Bearer() for _ in range(4)]
STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c"]), st.integers(0, 3)), max_size=40)


@given(STEPS, st.sets(st.sampled_from(["a", "b", "c", "d"])))
def test_each_credential_has_its_bearers(steps: list[tuple[bool, str, int]], asked: set[str]) -> None:
    bearers: Bearers[Bearer] = Bearers()
    model: set[tuple[str, int]] = set()
    for is_new, credential_id, number in steps:
        if is_new:
            bearers.add(credential_id, BEARERS[number])
            model.add((credential_id, number))
        else:
            bearers.remove(credential_id, BEARERS[number])
            model.discard((credential_id, number))

    found = sorted(next(n for n, each in enumerate(BEARERS) if each is one) for one in bearers.of(asked))
    assert found == sorted({number for credential_id, number in model if credential_id in asked})
    assert len(bearers) == len({credential_id for credential_id, _ in model})
