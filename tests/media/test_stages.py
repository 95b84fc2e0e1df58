from media.stages import SEALED_BYTES, Parcel, ship

RUN, NEXT = slice(0, 3), slice(3, 4)


class Noted:
    """Writes down what happens to it, and breaks where it is told to."""

    def __init__(self, name: str, happened: list[str], size: int = 10, breaks: str = "") -> None:
        self.name, self.happened, self.size, self.breaks = name, happened, size, breaks

    def seal(self, run: slice, at: int) -> int:
        self._note(f"seal {self.name} {run.start} at {at}")
        return at + self.size

    def send(self, packets: int) -> None:
        self._note(f"send {self.name} {packets}")

    def _note(self, what: str) -> None:
        if self.breaks and what.startswith(self.breaks):
            raise ConnectionError(what)
        self.happened.append(what)


def parcels(*all_of_them: Noted) -> dict[int, Parcel]:
    return dict(enumerate(all_of_them))


def test_a_run_is_sealed_for_all_before_it_is_sent_to_any() -> None:
    happened: list[str] = []
    assert ship((RUN, NEXT), parcels(Noted("a", happened), Noted("b", happened))) == {}
    assert happened[:4] == ["seal a 0 at 0", "seal b 0 at 10", "send a 3", "send b 3"]
    assert happened[4:] == ["seal a 3 at 0", "seal b 3 at 10", "send a 1", "send b 1"]


def test_what_is_sealed_goes_out_before_there_is_no_room_for_more() -> None:
    happened: list[str] = []
    assert ship((RUN,), parcels(*(Noted(name, happened, SEALED_BYTES // 2 + 1) for name in "abc"))) == {}
    half = SEALED_BYTES // 2 + 1
    assert happened == ["seal a 0 at 0", f"seal b 0 at {half}", "send a 3", "send b 3", "seal c 0 at 0", "send c 3"]


def test_who_fails_gets_no_more_and_leaves_the_others_all_of_it() -> None:
    happened: list[str] = []
    lost = Noted("lost", happened, breaks="seal")
    gone = Noted("gone", happened, breaks="send")
    failures = ship((RUN, NEXT), parcels(lost, gone, Noted("c", happened)))
    assert {key: str(error) for key, error in failures.items()} == {0: "seal lost 0 at 0", 1: "send gone 3"}
    assert happened == ["seal gone 0 at 0", "seal c 0 at 10", "send c 3", "seal c 3 at 0", "send c 1"]


def test_a_unit_that_nobody_takes_costs_nothing() -> None:
    assert ship((RUN,), {}) == {}
