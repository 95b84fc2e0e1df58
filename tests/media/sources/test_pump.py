"""The reader thread: pace, time stamps, a new try after each death."""

import itertools
import threading
from collections.abc import Generator

import av
import pytest

from media.encoders.encoder import AudioCapture, VideoCapture
from media.sources.pump import LATE_S, Pump
from media.sources.source import Pace, Picture, Sound, SourceError

PICTURE = av.VideoFrame(16, 16, "yuv420p")
SOUND = av.AudioFrame("s16", "stereo", 960)


class Clock(threading.Event):
    """A stop event and a clock in one: waiting moves time on, and the test ends at `ends_at`."""

    def __init__(self, ends_at: float) -> None:
        super().__init__()
        self.now = 1000.0
        self.ends_at = 1000.0 + ends_at
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        if self.now >= self.ends_at:
            self.set()
        return self.is_set()


class Taken:
    """Keeps all captures."""

    def __init__(self) -> None:
        self.pictures: list[VideoCapture] = []
        self.sounds: list[AudioCapture] = []

    def video(self, capture: VideoCapture) -> None:
        self.pictures.append(capture)

    def audio(self, capture: AudioCapture) -> None:
        self.sounds.append(capture)


class Script:
    """A source that gives what it is told, once per play."""

    width, height, fps, has_audio = 16, 16, 10.0, True

    def __init__(self, *plays: list[Picture | Sound | Exception]) -> None:
        self._plays = iter(plays)
        self.closed = 0

    def frames(self, pace: Pace) -> Generator[Picture | Sound, None, None]:
        try:
            for item in next(self._plays, []):
                if isinstance(item, Exception):
                    raise item
                if not pace(item.time_s):
                    return
                yield item
        finally:
            self.closed += 1


def picture(time_s: float) -> Picture:
    return Picture(PICTURE, time_s)


def pump(source: Script, ends_at: float) -> tuple[Pump, Taken, Clock]:
    taken, clock = Taken(), Clock(ends_at)
    pump = Pump(source, taken, clock)
    pump.run(clock)
    return pump, taken, clock


def test_each_picture_waits_for_its_time_and_is_stamped_with_it() -> None:
    source = Script([picture(0.0), picture(0.1), picture(0.2), Sound(SOUND, 0.2)])
    _, taken, _ = pump(source, 0.25)
    assert [capture.timestamp for capture in taken.pictures] == [0, 9000, 18000]
    assert [capture.captured_at for capture in taken.pictures] == pytest.approx([1000.0, 1000.1, 1000.2])
    assert [capture.timestamp for capture in taken.sounds] == [9600]


def test_both_kinds_count_from_the_same_zero() -> None:
    source = Script([Sound(SOUND, 0.0), picture(0.01), Sound(SOUND, 0.02)])
    _, taken, _ = pump(source, 0.1)
    assert [capture.timestamp for capture in taken.pictures] == [900]
    assert [capture.timestamp for capture in taken.sounds] == [0, 960]


def test_dead_source_is_tried_again_with_growing_waits_and_jitter(caplog: pytest.LogCaptureFixture) -> None:
    source = Script(*[[SourceError("the camera is gone")] for _ in range(20)])
    pumped, _, clock = pump(source, 200.0)
    for wait, nominal in zip(clock.waits, [0.5, 1, 2, 4, 8, 16, 30, 30], strict=False):
        assert nominal / 2 <= wait <= nominal
    assert len(set(clock.waits)) > 3
    assert pumped.stats.failures == source.closed == len(clock.waits)
    assert "source failed" in caplog.text


def test_source_that_played_starts_again_with_the_first_wait() -> None:
    dead: list[Picture | Sound | Exception] = [OSError("unplugged")]
    source = Script(dead, dead, dead, [picture(0.0), *dead], dead)
    _, _, clock = pump(source, 6.0)
    assert clock.waits[3] <= 0.5


def test_time_stamps_go_on_over_a_restart() -> None:
    source = Script([picture(0.0), picture(0.1)], [picture(0.0), picture(0.1)])
    _, taken, _ = pump(source, 1.2)
    stamps = [capture.timestamp for capture in taken.pictures]
    assert stamps == sorted(set(stamps))
    assert stamps[2] >= 9000 + 0.25 * 90_000, "the pause before the new try is in the time stamps"
    assert taken.pictures[2].captured_at - 1000.0 == pytest.approx(stamps[2] / 90_000, abs=1e-4)


def test_any_error_of_a_source_is_survived() -> None:
    source = Script([ZeroDivisionError("bug")], [picture(0.0)])
    pumped, taken, _ = pump(source, 1.0)
    assert pumped.stats.failures >= 1
    assert len(taken.pictures) == 1


def test_equal_times_still_rise() -> None:
    source = Script([picture(0.0), picture(0.0), Sound(SOUND, 0.0), Sound(SOUND, 0.0)])
    _, taken, _ = pump(source, 0.1)
    assert [capture.timestamp for capture in taken.pictures] == [0, 1]
    assert [capture.timestamp for capture in taken.sounds] == [0, 960]


def test_source_that_fell_far_behind_does_not_race_to_catch_up() -> None:
    taken, clock = Taken(), Clock(20.0)

    class Stalled(Script):
        def frames(self, pace: Pace) -> Generator[Picture | Sound, None, None]:
            for number in range(10):
                if number == 5:
                    clock.now += 3.0
                if not pace(number / 10):
                    return
                yield picture(number / 10)
            clock.set()

    pumped = Pump(Stalled(), taken, clock)
    pumped.run(clock)
    times = [capture.captured_at for capture in taken.pictures]
    assert times[5] - times[4] > 3.0 - LATE_S
    assert [b - a for a, b in itertools.pairwise(times[5:])] == pytest.approx([0.1] * 4)
    assert pumped.stats.rebased == 1


def test_stop_closes_the_source() -> None:
    source = Script([picture(number / 10) for number in range(100)])
    _, taken, _ = pump(source, 0.55)
    assert source.closed == 1
    assert len(taken.pictures) == 6
