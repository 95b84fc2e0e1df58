"""The bounded queue to the event loop: what is dropped, and that a decoder can always go on."""

from hypothesis import given
from hypothesis import strategies as st

from media.encoders.encoder import AccessUnit
from media.encoders.outlet import BOUND, Outlet


def unit(number: int, is_key: bool = False) -> AccessUnit:
    return AccessUnit(b"", number, is_key, 0.0)


def numbers(outlet: Outlet) -> list[int]:
    return [unit.timestamp for unit in outlet.drain()]


def test_loop_is_woken_once_for_what_it_takes_at_once() -> None:
    wakes: list[int] = []
    outlet = Outlet(lambda: wakes.append(1))
    outlet.put(unit(0, True))
    outlet.put(unit(1))
    assert len(wakes) == 1
    assert numbers(outlet) == [0, 1]
    outlet.put(unit(2))
    assert len(wakes) == 2


def test_full_queue_drops_up_to_the_next_key_frame() -> None:
    outlet = Outlet(lambda: None)
    lost = [outlet.put(unit(number)) for number in range(BOUND + 2)]
    assert lost == [0] * BOUND + [1, 1]
    assert numbers(outlet) == [0, 1, 2, 3]
    assert outlet.put(unit(6)) == 1, "it needs a unit that was lost"
    assert outlet.put(unit(7, True)) == 0
    assert outlet.put(unit(8)) == 0
    assert numbers(outlet) == [7, 8]


def test_key_frame_replaces_what_waits_in_a_full_queue() -> None:
    outlet = Outlet(lambda: None)
    for number in range(BOUND):
        outlet.put(unit(number))
    assert outlet.put(unit(4, True)) == BOUND
    assert numbers(outlet) == [4]


@given(st.lists(st.sampled_from(["delta", "key", "drain"]), max_size=200))
def test_what_comes_out_is_decodable_and_everything_else_is_counted(steps: list[str]) -> None:
    wakes: list[int] = []
    outlet = Outlet(lambda: wakes.append(1))
    out: list[AccessUnit] = []
    put = lost = 0
    for step in steps:
        if step == "drain":
            out += outlet.drain()
            wakes.clear()
            continue
        newly_lost = outlet.put(unit(put, step == "key"))
        lost += newly_lost
        put += 1
        assert wakes or newly_lost, "the loop knows that something waits"
    rest = outlet.drain()
    assert len(rest) <= BOUND
    out += rest
    assert len(out) + lost == put
    last = -1
    for got in out:
        assert got.is_key or got.timestamp == last + 1, "a gap ends with a key frame"
        last = got.timestamp
