"""What a worker does when a device breaks: the next encoder takes over, and the pictures go on with a key frame."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import av
import pytest

from media.encoders import choose
from media.encoders import worker as worker_module
from media.encoders.backends import BY_NAME, Backend, Route
from media.encoders.encoder import AccessUnit, Capture, Codec, EncoderSettings, Shape, VideoEncoder
from media.encoders.outlet import Outlet
from media.encoders.worker import EncoderStats, EncoderWorker
from tests.media.encoders.fake import FakeDevice, Faults
from tests.media.pictures import decoder

SHAPE = Shape(64, 64, 200.0)
SETTINGS = EncoderSettings(bitrate_bps=100_000, usable=(BY_NAME["nvenc"],))
FRAME = av.VideoFrame(64, 64, "yuv420p")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the machine stalls, no device does; a test of one that does is impatient."""
    monkeypatch.setattr(choose, "STALL_S", 15.0)
    monkeypatch.setattr(worker_module, "FIRST_UNIT_S", 15.0)


def impatient(monkeypatch: pytest.MonkeyPatch, faults: Faults) -> None:
    monkeypatch.setattr(choose, "STALL_S", 0.15)
    if faults.stalls_at == 0:
        monkeypatch.setattr(worker_module, "FIRST_UNIT_S", 0.15)


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    device = FakeDevice(Faults())
    yield device
    device.released.set()


class Run:
    """A worker that is given pictures until it has encoded so many since the last change."""

    def __init__(self, device: FakeDevice, settings: EncoderSettings = SETTINGS) -> None:
        self.chains = device.chains()
        self.units: list[AccessUnit] = []
        self._came = threading.Condition()
        self._outlet = Outlet(self._wake, bound=100)
        self.stats = EncoderStats()
        self.taken_over: Callable[[], object] = lambda: None
        self.paused: Callable[[], object] = lambda: None
        self.worker: EncoderWorker[av.VideoFrame] = EncoderWorker(
            self.chains.chain(Codec.H264, SHAPE, settings), self._outlet, 1, self.stats
        )

    def _wake(self) -> None:
        with self._came:
            self.units += self._outlet.drain()
            self._came.notify()

    def until(self, encoder: str, count: int = 5, pause_at: int = -1) -> list[AccessUnit]:
        """Give a picture every 5 ms until `encoder` has given `count`; the units from the last key frame on."""
        stop = threading.Event()
        thread = threading.Thread(target=self.worker.run, args=(stop,))
        thread.start()
        before = None
        try:
            for number in range(1000):
                if number == pause_at:
                    while self.stats.frames + self.stats.dropped_frames < number:
                        time.sleep(0.001)  # the thread that encodes rings no bell
                    self.paused()
                self.worker.offer(Capture(FRAME, number * 450, float(number)))
                with self._came:
                    self._came.wait(0.005)
                    if self.stats.encoder == encoder:
                        before = len(self.units) if before is None else before
                        if len(self.units) > before + 2:
                            self.taken_over()
                        if len(self.units) >= before + count:
                            last = max(at for at, unit in enumerate(self.units) if unit.is_key)
                            return self.units[last:]
            raise AssertionError(f"{self.stats.encoder} is no {encoder}")
        finally:
            stop.set()
            self.worker.close()
            thread.join(15)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(does_not_open="Cannot load libcuda.so.1"), "driver missing"),
        (Faults(session_limit=0), "session limit"),
        (Faults(dies_at=5), "broke"),
        (Faults(stalls_at=5), "stalled"),
        (Faults(stalls_at=0), "stalled"),
        (Faults(hangs_at=5), "stalled"),
        (Faults(swaps_at=5), "wrong order"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_device_that_fails_is_replaced_by_software(
    monkeypatch: pytest.MonkeyPatch, device: FakeDevice, faults: Faults, reason: str
) -> None:
    if reason == "stalled":
        impatient(monkeypatch, faults)
    device.faults = faults
    run = Run(device)
    units = run.until("libx264", count=20)
    assert run.chains.fallbacks == {f"nvenc/x264/{reason}": 1}
    stamps = [unit.timestamp for unit in run.units]
    assert stamps == sorted(set(stamps))
    context = decoder(Codec.H264)
    assert all(context.decode(av.Packet(unit.data)) for unit in units)
    has_begun = any((faults.dies_at, faults.stalls_at, faults.hangs_at, faults.swaps_at))
    assert sum(unit.is_key for unit in run.units) == 1 + has_begun


def test_picture_of_a_device_that_comes_back_too_late_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch, device: FakeDevice
) -> None:
    device.faults.hangs_at = 5
    impatient(monkeypatch, device.faults)
    run = Run(device)
    run.taken_over = device.released.set
    run.until("libx264", count=20)
    assert device.came_back.wait(15)
    stamps = [unit.timestamp for unit in run.units]
    assert stamps == sorted(set(stamps))
    until_closed = time.monotonic() + 15
    while device.open_encoders and time.monotonic() < until_closed:
        time.sleep(0.002)  # the thread that was given up rings no bell
    assert device.open_encoders == 0, "it is closed all the same"


def test_device_that_holds_pictures_back_is_used(device: FakeDevice) -> None:
    device.faults.holds_back = 3
    run = Run(device)
    run.until("fake", 20)
    assert not run.chains.fallbacks
    assert [unit.captured_at for unit in run.units] == [unit.timestamp / 450 for unit in run.units]


def test_source_that_pauses_is_not_a_stall(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    device.faults.holds_back = 2
    passed_s = 0.0

    def pause() -> None:
        nonlocal passed_s
        passed_s += 100.0

    monkeypatch.setattr(worker_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s))
    run = Run(device)
    run.paused = pause
    run.until("fake", 20, pause_at=10)
    assert not run.chains.fallbacks


def test_encoder_that_takes_over_goes_on_at_the_rate_that_was_asked_for(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[int] = []
    monkeypatch.setattr("media.encoders.software.X264Encoder.set_bitrate", lambda _, rate: rates.append(rate))
    device.faults.dies_at = 3
    run = Run(device)
    run.worker.set_bitrate(40_000)
    run.until("libx264")
    assert rates == [40_000, 40_000]


def test_pinned_device_is_tried_again_and_never_replaced(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REOPEN_S", 0.01)
    device.faults.dies_at = 5
    run = Run(device, EncoderSettings(encoder="qsv"))
    run.until("fake", 20)
    assert set(device.opened) == {"qsv"}
    assert len(device.opened) > 2
    assert not run.chains.fallbacks


class Counted(choose.EncoderChain):
    """A pinned device; tells of each failure."""

    def __init__(self, chains: choose.Chains) -> None:
        super().__init__(Codec.H264, SHAPE, EncoderSettings(encoder="qsv"), chains)
        self.failures = threading.Semaphore(0)

    def failed(self, error: Exception) -> bool:
        has_another = super().failed(error)
        self.failures.release()
        return has_another


def test_pinned_device_that_hangs_holds_one_thread_however_often_it_is_tried(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("OPEN_S", "REOPEN_S", "MOST_REOPEN_S"):
        monkeypatch.setattr(worker_module, limit, 0.0)
    monkeypatch.setattr(choose, "STALL_S", 0.01)
    asked: list[str] = []

    def hang(backend: Backend, shape: Shape, settings: EncoderSettings) -> VideoEncoder:
        asked.append(backend.name)
        device.released.wait()
        return device.open(backend, shape, settings)

    chain = Counted(choose.Chains({Route.HARDWARE: hang}))
    worker: EncoderWorker[av.VideoFrame] = EncoderWorker(chain, Outlet(lambda: None), 1, EncoderStats())
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        for _ in range(4):
            assert chain.failures.acquire(timeout=15)
        assert asked == ["qsv"]
        assert worker.stats.failures >= 4
    finally:
        stop.set()
        device.released.set()
        thread.join(15)
    assert not thread.is_alive()
