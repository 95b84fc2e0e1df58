"""The reader thread: pace, time stamps, a new try after each death."""

import itertools
import threading
from collections.abc import Generator

import av
import pytest

from media.encoders.encoder import AccessUnit, AudioCapture, Codec, VideoCapture
from media.sources.pump import ASK_AGAIN, DEAD_S, LATE_S, SILENT_S, Pump
from media.sources.source import EncodedPicture, EncodedSound, Item, Pace, Picture, RawSource, Sound, SourceError

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
        self.units: list[tuple[Codec, AccessUnit]] = []

    def video(self, capture: VideoCapture) -> None:
        self.pictures.append(capture)

    def audio(self, capture: AudioCapture) -> None:
        self.sounds.append(capture)

    def encoded(self, codec: Codec, unit: AccessUnit) -> None:
        self.units.append((codec, unit))

    def slate(self, capture: VideoCapture) -> None:
        self.pictures.append(capture)


class Script(RawSource):
    """A source that gives what it is told, once per play."""

    width, height, fps, has_audio = 16, 16, 10.0, True

    def __init__(self, *plays: list[Item | Exception]) -> None:
        self._plays = iter(plays)
        self.closed = 0

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
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
    dead: list[Item | Exception] = [OSError("unplugged")]
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


def encoded(time_s: float, is_key: bool = False) -> EncodedPicture:
    return EncodedPicture(Codec.H264, b"picture", is_key, time_s)


def test_what_comes_encoded_is_stamped_on_the_same_clocks() -> None:
    source = Script([encoded(0.0, True), EncodedSound(Codec.OPUS, b"sound", 0.02), encoded(0.1)])
    _, taken, _ = pump(source, 0.2)
    assert [(codec, unit.timestamp, unit.is_key, unit.data) for codec, unit in taken.units] == [
        (Codec.H264, 0, True, b"picture"),
        (Codec.OPUS, 960, True, b"sound"),
        (Codec.H264, 9000, False, b"picture"),
    ]
    assert [unit.captured_at for _, unit in taken.units] == pytest.approx([1000.0, 1000.02, 1000.1])


def test_encoded_pictures_before_a_key_frame_are_left_out_at_each_start() -> None:
    source = Script([encoded(0.0), encoded(0.1, True), encoded(0.2)], [encoded(0.0), encoded(0.1, True)])
    pumped, taken, _ = pump(source, 2.0)
    assert [unit.is_key for _, unit in taken.units] == [True, False, True]
    assert pumped.stats.skipped == 2
    assert pumped.stats.pictures == 3


def test_source_that_failed_is_dead_until_its_next_picture_and_a_slate_stands_in() -> None:
    taken, clock = Taken(), Clock(4.0)
    seen: list[tuple[float, bool]] = []

    class Watched(Script):
        def frames(self, pace: Pace) -> Generator[Item, None, None]:
            seen.append((clock.now, pumped.is_dead))
            pumped.slate(PICTURE)
            yield from super().frames(pace)

    dead: list[Item | Exception] = [SourceError("unplugged")]
    pumped = Pump(Watched([encoded(0.0, True), *dead], dead, dead, [encoded(0.0), encoded(0.1, True)]), taken, clock)
    assert not pumped.is_dead, "it was not started"
    pumped.run(clock)
    assert [is_dead for at, is_dead in seen[:4]] == [at > 1000.0 + DEAD_S for at, _ in seen[:4]]
    assert pumped.stats.slates == len(taken.pictures) == sum(is_dead for _, is_dead in seen)
    first, second = (unit.timestamp for _, unit in taken.units)
    stamps = [capture.timestamp for capture in taken.pictures]
    assert [first, *stamps[:2], second] == sorted([first, *stamps[:2], second])
    assert stamps[0] == round((taken.pictures[0].captured_at - 1000.0) * 90_000)


def test_source_that_gives_nothing_is_dead_without_a_failure() -> None:
    clock = Clock(1e9)
    seen: list[bool] = []

    class Silent(Script):
        def frames(self, pace: Pace) -> Generator[Item, None, None]:
            for wait_s in (1.0, SILENT_S - 1.0, 0.1):
                clock.now += wait_s
                seen.append(pumped.is_dead)
            yield picture(clock.now - 1000.0)
            seen.append(pumped.is_dead)
            clock.set()

    pumped = Pump(Silent(), Taken(), clock)
    pumped.run(clock)
    assert seen == [False, False, True, False]


def test_source_whose_pictures_nobody_can_decode_is_asked_for_a_key_frame() -> None:
    class Able(Script):
        can_request_keyframe = True
        asked = 0

        def request_keyframe(self) -> None:
            self.asked += 1

    source = Able([encoded(number / 100) for number in range(ASK_AGAIN + 1)])
    pump(source, 0.5)
    assert source.asked == 2


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
        def frames(self, pace: Pace) -> Generator[Item, None, None]:
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
