"""Who watches a line, and the way through it for what a source has encoded."""

from media.encoders.encoder import AccessUnit, Codec
from media.encoders.line import Line, Passage, PassedStats, Watcher
from media.encoders.outlet import BOUND, Outlet


def unit(number: int, is_key: bool = False) -> AccessUnit:
    return AccessUnit(b"1234", number, is_key, 0.0)


def test_each_watcher_begins_with_a_key_frame() -> None:
    line, outlet = Line(Codec.H264, 1), Outlet(lambda: None)
    early: list[AccessUnit] = []
    late: list[AccessUnit] = []
    line.watchers.append(Watcher(early.append))
    outlet.put(unit(0, True))
    assert line.deliver(outlet) == 0
    line.watchers.append(Watcher(late.append))
    for number in (1, 2):
        outlet.put(unit(number, number == 2))
    assert line.deliver(outlet) == 0
    assert [seen.timestamp for seen in early] == [0, 1, 2]
    assert [seen.timestamp for seen in late] == [2]
    assert line.name == "H264/1"


def test_line_is_idle_a_while_after_the_last_watcher_left() -> None:
    line = Line(Codec.VP8, 0)
    watcher = Watcher(lambda _: None)
    line.watchers.append(watcher)
    assert not line.is_idle(100.0, 5.0)
    line.remove(watcher, 100.0)
    line.remove(watcher, 200.0)
    assert not line.is_idle(104.9, 5.0)
    assert line.is_idle(105.0, 5.0)


def test_source_is_asked_for_a_key_frame_once_per_window() -> None:
    asked: list[float] = []
    now = [10.0]
    passage = Passage(Outlet(lambda: None), PassedStats(), lambda: asked.append(now[0]), lambda: now[0])
    passage.offer(unit(0, True))
    for moment in (10.0, 10.1, 10.2, 10.31):
        now[0] = moment
        passage.request_keyframe()
        passage.offer(unit(1))
    assert asked == [10.0, 10.31]
    assert passage.stats == PassedStats(units=5, key_frames=1, passed_bytes=20, keyframe_requests=4, dropped_units=1)


def test_unit_lost_to_a_busy_loop_asks_for_a_key_frame() -> None:
    asked: list[int] = []
    passage = Passage(Outlet(lambda: None), PassedStats(), lambda: asked.append(1), lambda: 0.0)
    for number in range(BOUND + 1):
        passage.offer(unit(number, number == 0))
    assert passage.stats.dropped_units == 1
    assert asked == [1]


def test_source_that_cannot_make_one_is_not_asked() -> None:
    passage = Passage(Outlet(lambda: None), PassedStats(), None, lambda: 0.0)
    passage.request_keyframe()
    passage.set_bitrate(1)
    passage.offer(unit(0, True))
    passage.close()
    assert passage.stats.units == 1
