"""The thread of one encoder, with an encoder whose every step the test sees."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av
import pytest

from media.encoders import worker as worker_module
from media.encoders.encoder import AccessUnit, Capture, VideoCapture
from media.encoders.failure import StallError
from media.encoders.outlet import Outlet
from media.encoders.worker import EncoderStats, EncoderWorker

FRAME = av.VideoFrame(16, 16, "yuv420p")


class Recorder:
    """An encoder that records its calls and fails when it is told to."""

    name = "recorder"
    bitrate_costs_key = False

    def __init__(self) -> None:
        self.keys: list[bool] = []
        self.rates: list[int] = []
        self.closed = threading.Event()
        self.fails_next = False
        self.encoded = threading.Semaphore(0)

    def encode(self, capture: VideoCapture, is_key: bool) -> list[AccessUnit]:
        if self.fails_next:
            raise RuntimeError("the driver went away")
        first = not self.keys
        self.keys.append(is_key)
        self.encoded.release()
        return [AccessUnit(b"12345", capture.timestamp, is_key or first, capture.captured_at)]

    def set_bitrate(self, bitrate_bps: int) -> None:
        self.rates.append(bitrate_bps)

    def close(self) -> None:
        self.closed.set()


class Ladder:
    """Encoders one after the other; with `goes_on` each failure leads to another one."""

    stall_s: float | None = None

    def __init__(self, open_encoder: Callable[[], Recorder], goes_on: bool) -> None:
        self._open_encoder, self._goes_on = open_encoder, goes_on
        self.failures: list[Exception] = []

    def open(self) -> Recorder:
        return self._open_encoder()

    def failed(self, error: Exception) -> bool:
        self.failures.append(error)
        return self._goes_on

    def gave_up(self, ended: threading.Event) -> None:
        raise AssertionError("nothing here is watched")


class Bench:
    def __init__(self, open_encoder: Callable[[], Recorder], goes_on: bool = False) -> None:
        self.now = 0.0
        self.ladder = Ladder(open_encoder, goes_on)
        self.stats = EncoderStats()
        self.outlet = Outlet(lambda: None)
        self.worker: EncoderWorker[av.VideoFrame] = EncoderWorker(
            self.ladder, self.outlet, 1, self.stats, lambda: self.now
        )
        self.number = 0

    def step(self, encoder: Recorder) -> None:
        self.worker.offer(Capture(FRAME, self.number * 3000, self.now))
        self.number += 1
        assert encoder.encoded.acquire(timeout=15)


@contextmanager
def running(bench: Bench) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=bench.worker.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        bench.worker.close()
        thread.join(15)
        assert not thread.is_alive()


def test_captures_become_units_in_the_outlet() -> None:
    encoder = Recorder()
    bench = Bench(lambda: encoder)
    with running(bench):
        for _ in range(3):
            bench.step(encoder)
    assert [unit.timestamp for unit in bench.outlet.drain()] == [0, 3000, 6000]
    assert (bench.stats.frames, bench.stats.key_frames, bench.stats.encoded_bytes) == (3, 1, 15)
    assert encoder.closed.is_set()


def test_requests_are_coalesced() -> None:
    encoder = Recorder()
    bench = Bench(lambda: encoder)
    with running(bench):
        bench.step(encoder)
        bench.worker.request_keyframe()
        bench.worker.request_keyframe()
        bench.step(encoder)
        bench.worker.request_keyframe()
        bench.step(encoder)
        bench.now += 0.3
        bench.step(encoder)
    assert encoder.keys == [False, True, False, True]
    assert bench.stats.keyframe_requests == 3


def test_bitrate_reaches_the_encoder_in_its_own_thread() -> None:
    encoder = Recorder()
    bench = Bench(lambda: encoder)
    with running(bench):
        bench.worker.set_bitrate(500_000)
        bench.worker.set_bitrate(400_000)
        bench.step(encoder)
        bench.step(encoder)
    assert encoder.rates == [400_000]


def test_bitrate_that_costs_key_frames_changes_seldom() -> None:
    encoder = Recorder()
    encoder.bitrate_costs_key = True
    bench = Bench(lambda: encoder)
    with running(bench):
        for at, bitrate_bps in ((0.0, 500_000), (1.0, 400_000), (2.9, 300_000), (3.0, 300_000), (3.1, 200_000)):
            bench.now = at
            bench.worker.set_bitrate(bitrate_bps)
            bench.step(encoder)
    assert encoder.rates == [500_000, 300_000]


def test_lost_unit_asks_for_a_key_frame() -> None:
    encoder = Recorder()
    bench = Bench(lambda: encoder)
    with running(bench):
        for _ in range(8):
            bench.step(encoder)
    assert encoder.keys[:5] == [False] * 5, "the queue to the loop holds four"
    assert True in encoder.keys[5:7]
    assert bench.stats.dropped_units >= 1


def test_broken_encoder_is_replaced(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(worker_module, "REOPEN_S", 0.0)
    first, second = Recorder(), Recorder()
    opened = iter([first, second])
    bench = Bench(lambda: next(opened))
    with running(bench):
        bench.step(first)
        first.fails_next = True
        bench.worker.offer(Capture(FRAME, 3000, 0.0))
        assert first.closed.wait(15)
        bench.number = 2
        bench.step(second)
    units = bench.outlet.drain()
    assert [(unit.timestamp, unit.is_key) for unit in units] == [(0, True), (6000, True)]
    assert bench.stats.failures == 1
    assert [str(error) for error in bench.ladder.failures] == ["the driver went away"]
    assert "encoder failed" in caplog.text


def test_the_next_encoder_is_opened_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REOPEN_S", 3600.0)
    first, second = Recorder(), Recorder()
    opened = iter([first, second])
    bench = Bench(lambda: next(opened), goes_on=True)
    with running(bench):
        bench.step(first)
        first.fails_next = True
        bench.worker.offer(Capture(FRAME, 3000, 0.0))
        assert first.closed.wait(15)
        bench.number = 2
        bench.step(second)


def test_encoder_that_does_not_open_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REOPEN_S", 0.0)
    encoder = Recorder()
    tries: list[int] = []

    def open_encoder() -> Recorder:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("no device")
        return encoder

    bench = Bench(open_encoder)
    with running(bench):
        bench.step(encoder)
    assert len(tries) == 3
    assert bench.stats.failures == 2


class Hanging(Ladder):
    """A device whose driver comes back when the test lets it, and software after it."""

    def __init__(self, device: Recorder, software: Recorder) -> None:
        super().__init__(lambda: software, goes_on=True)
        self.stall_s = 0.01
        self.returns = threading.Event()
        self.given_up: list[threading.Event] = []
        self._device = device

    def open(self) -> Recorder:
        if self.stall_s is None:
            return super().open()
        self.returns.wait()
        return self._device

    def gave_up(self, ended: threading.Event) -> None:
        self.given_up.append(ended)
        self.stall_s = None


def test_device_that_opens_after_it_was_given_up_is_closed_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "OPEN_S", 0.0)
    device, software = Recorder(), Recorder()
    device.name, device.bitrate_costs_key = "device", True
    bench = Bench(lambda: software)
    chain = Hanging(device, software)
    bench.worker = EncoderWorker(chain, bench.outlet, 1, bench.stats, lambda: bench.now)
    with running(bench):
        bench.step(software)
        assert [type(error) for error in chain.failures] == [StallError]
        chain.returns.set()
        [ended] = chain.given_up
        assert ended.wait(15)
        assert device.closed.is_set()
        assert (bench.stats.encoder, bench.stats.bitrate_costs_key, bench.stats.sessions) == ("recorder", False, 1)
    assert bench.stats.sessions == 0
