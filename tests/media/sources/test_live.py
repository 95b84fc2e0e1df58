"""What cameras, screens and programs have in common."""

import logging
import threading
from collections.abc import Callable, Iterator

import av
import pytest

from media.encoders.encoder import Codec
from media.sources import live
from media.sources.live import LiveSource
from media.sources.source import EncodedPicture, Facts, Item, Picture, SetupError, Sound, SourceError
from tests.media.pictures import at_once

FRAME = av.VideoFrame(64, 48, "yuv420p")
RAW = Facts(64, 48, 15.0)
PASSED = Facts(640, 480, 25.0, passes=frozenset((Codec.H264,)), note="passed")
ASSUMED = Facts(1280, 720, 30.0)


class Device:
    """Gives one picture, then waits for `gone`; `facts` may be an error."""

    def __init__(self, facts: Facts | Exception = RAW) -> None:
        self.facts_now = facts
        self.gone = threading.Event()
        self.is_there = threading.Event()
        self.is_there.set()
        self.opened = self.closed = self.aborted = self.read = 0
        self.closes = threading.Semaphore(0)

    def open(self) -> "OpenDevice":
        self.is_there.wait(15)
        self.opened += 1
        if isinstance(self.facts_now, Exception):
            raise self.facts_now
        return OpenDevice(self, self.facts_now)


class OpenDevice:
    def __init__(self, device: Device, facts: Facts) -> None:
        self.facts = facts
        self._device = device

    def items(self, wanted: Facts, elapsed: Callable[[], float]) -> Iterator[Item]:
        self._device.read += 1
        yield Sound(av.AudioFrame("s16", "stereo", 960), elapsed())
        if Codec.H264 in wanted.passes:
            yield EncodedPicture(Codec.H264, b"", True, elapsed())
        else:
            yield Picture(av.VideoFrame(wanted.width, wanted.height, "yuv420p"), elapsed())
        self._device.gone.wait(15)
        raise SourceError("the camera is gone")

    def close(self) -> None:
        self._device.closed += 1
        self._device.closes.release()

    def abort(self) -> None:
        self._device.aborted += 1
        self._device.gone.set()


def source(device: Device, probe_s: float = 5.0) -> LiveSource:
    return LiveSource("the camera", device.open, ASSUMED, probe_s)


def test_device_that_is_there_tells_what_it_gives() -> None:
    device = Device(PASSED)
    found = source(device)
    assert (found.width, found.height, found.fps, found.passes) == (640, 480, 25.0, PASSED.passes)
    assert (device.opened, device.closed) == (1, 1)


def test_device_that_is_away_is_assumed_and_told(caplog: pytest.LogCaptureFixture) -> None:
    away = source(Device(SourceError("it is off")))
    assert (away.width, away.height, away.passes) == (1280, 720, frozenset())
    assert "source is not there yet" in caplog.text
    with pytest.raises(SourceError, match="it is off"):
        next(away.frames(at_once))


def test_error_of_a_driver_is_told_without_credentials() -> None:
    away = source(Device(OSError(5, "broken", "rtsp://admin:hunter2@camera/1")))
    with pytest.raises(SourceError, match=r"OSError: .*rtsp://\*\*\*@camera/1"):
        next(away.frames(at_once))


def test_mistake_of_the_operator_ends_the_start() -> None:
    with pytest.raises(SetupError, match="no such mode"):
        source(Device(SetupError("no such mode")))


def test_device_that_hangs_holds_up_neither_the_start_nor_more_than_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENT_S", 0.05)
    device = Device()
    device.is_there.clear()
    hanging = source(device, probe_s=0.01)
    assert hanging.width == 1280
    for _ in range(3):
        with pytest.raises(SourceError, match="hangs"):
            next(hanging.frames(at_once))
    device.is_there.set()
    device.closes.acquire(timeout=15)
    assert device.opened == 1


def test_pictures_come_in_the_announced_size_and_sound_only_if_it_was_announced() -> None:
    device = Device()
    playing = source(device).frames(at_once)
    item = next(playing)
    assert isinstance(item, Picture)
    assert (item.frame.width, item.time_s >= 0) == (64, True)
    playing.close()
    assert (device.aborted, device.closed) == (1, 2), "it is given back before anybody opens it again"


def test_end_of_a_device_is_the_end_of_the_play() -> None:
    device = Device()
    playing = source(device).frames(at_once)
    next(playing)
    device.gone.set()
    with pytest.raises(SourceError, match="the camera is gone"):
        next(playing)


def test_silent_device_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENT_S", 0.0)
    playing = source(Device()).frames(at_once)
    next(playing)
    with pytest.raises(SourceError, match="gave no picture for 0 s"):
        next(playing)


def test_it_ends_when_the_pace_says_so() -> None:
    assert list(source(Device()).frames(lambda _time_s: False)) == []


def test_device_that_answers_after_the_end_of_the_play_is_closed_at_once() -> None:
    device = Device()
    late = source(device)
    device.closes.acquire(timeout=15)
    device.is_there.clear()
    assert list(late.frames(lambda _time_s: False)) == []
    device.is_there.set()
    assert device.closes.acquire(timeout=15)
    assert (device.opened, device.read) == (2, 0)


def test_what_it_passes_changes_only_when_nobody_plays_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    device = Device(SourceError("it is off"))
    found = source(device)
    device.facts_now = PASSED
    playing = found.frames(at_once)
    item = next(playing)
    assert isinstance(item, Picture), "an encoder waits for raw pictures"
    assert (item.frame.width, found.passes) == (1280, frozenset())
    playing.close()
    assert found.passes == {Codec.H264}
    device.gone.clear()
    assert isinstance(next(found.frames(at_once)), EncodedPicture)
    assert caplog.text.count("source found") == 1


def test_camera_that_can_no_longer_be_passed_gives_nothing_until_nobody_watches(
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = Device(PASSED)
    found = source(device)
    device.facts_now = RAW
    announced = []

    def pace(_time_s: float) -> bool:
        announced.append(found.passes)
        return "source changed" not in caplog.text

    assert list(found.frames(pace)) == []
    assert set(announced) == {PASSED.passes}
    assert found.passes == frozenset()
    assert isinstance(next(found.frames(at_once)), Picture)


def test_it_cannot_be_asked_for_key_frames() -> None:
    found = source(Device())
    assert not found.can_request_keyframe
    found.request_keyframe()
