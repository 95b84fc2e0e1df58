"""A recorder: takes units off the loop, and a disk that is slow or refuses costs recording, never the picture."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from media.encoders.encoder import AccessUnit, Codec
from media.recorder import QUEUE, Recorder
from media.recording.cutter import Piece
from media.recording.folder import FolderStats, RecordingError
from tests.media.recording.film import STEP, pictures, sounds


class Feed:
    has_audio = True

    def __init__(self) -> None:
        self.sinks: dict[Codec, Callable[[AccessUnit], None]] = {}
        self.asked = 0

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None]) -> Callable[[], None]:
        self.sinks[codec] = sink
        return lambda: self.sinks.pop(codec) and None

    def request_keyframe(self, codec: Codec) -> None:
        assert codec is Codec.H264
        self.asked += 1

    def play(self, *numbers: int) -> None:
        """Whole seconds of film."""
        for number in numbers:
            for unit in pictures()[number % 3 * 30 : number % 3 * 30 + 30]:
                shifted = unit.timestamp + number // 3 * 90 * STEP
                self.sinks[Codec.H264](msgspec.structs.replace(unit, timestamp=shifted))
            for sound in sounds()[:50]:
                self.sinks[Codec.OPUS](sound)


class Disk:
    """Keeps pieces; `gate` closed is a disk that hangs, `trouble` what it says."""

    def __init__(self) -> None:
        self.stats = FolderStats()
        self.pieces: list[Piece] = []
        self.trouble: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.tidied = 0
        self.is_complete = False
        self._written = threading.Semaphore(0)

    def open(self) -> None:
        pass

    def write(self, piece: Piece) -> None:
        self.gate.wait(10)
        try:
            if self.trouble is not None:
                raise self.trouble
            self.pieces.append(piece)
        finally:
            self._written.release()

    def tidy(self) -> None:
        self.tidied += 1

    def close(self, *, is_complete: bool = False) -> None:
        self.is_complete = is_complete

    async def written(self, count: int) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self._written.acquire, timeout=15)


@asynccontextmanager
async def recording(disk: Disk) -> AsyncIterator[tuple[Recorder, Feed]]:
    feed = Feed()
    recorder = Recorder(feed, disk, clock=lambda: 100.0, wall=lambda: 1_764_131_051.0)
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    yield recorder, feed
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert feed.sinks == {}, "it watches no more"


async def test_all_is_written_and_the_open_piece_at_the_end() -> None:
    disk = Disk()
    async with recording(disk) as (recorder, feed):
        feed.play(*range(5))
        await disk.written(4)
    assert [len(piece.video) for piece in disk.pieces] == [30] * 5
    assert disk.is_complete
    assert recorder.stats.lost == {"slow": 0, "failed": 0}
    assert feed.asked == 0


async def test_a_key_frame_is_asked_for_when_nobody_else_did() -> None:
    async with recording(Disk()) as (recorder, feed):
        feed.play(0)
        for number in range(30, 70):
            unit = AccessUnit(b"\0\0\1\x41", number * STEP, False, 100.0)
            feed.sinks[Codec.H264](unit)
        assert feed.asked == recorder.stats.keyframe_requests == 1


async def test_a_disk_that_hangs_loses_recording_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    disk.gate.clear()
    with caplog.at_level(logging.INFO, "media.recorder"):
        async with recording(disk) as (recorder, feed):
            feed.play(*range(QUEUE + 5))
            assert recorder.stats.lost["slow"] in (3, 4), "one may be in the hands of the thread"
            disk.gate.set()
            await disk.written(QUEUE)
            feed.play(*range(15, 19))
            await disk.written(3)
    assert [record.getMessage() for record in caplog.records] == ["recording lost", "recording goes on"]


async def test_a_disk_that_refuses_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    disk.trouble = RecordingError("/r: the disk is full")
    with caplog.at_level(logging.INFO, "media.recorder"):
        async with recording(disk) as (recorder, feed):
            feed.play(*range(4))
            await disk.written(3)
            disk.trouble = None
            feed.play(4)
            await disk.written(1)
    assert recorder.stats.lost["failed"] == 3
    assert disk.tidied >= 5, "removing what is old may make room"
    assert [record.getMessage() for record in caplog.records] == ["recording lost", "recording goes on"]


async def test_a_fault_of_our_own_costs_one_piece(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    disk.trouble = ZeroDivisionError()
    with caplog.at_level(logging.INFO, "media.recorder"):
        async with recording(disk) as (recorder, feed):
            feed.play(0, 1)
            await disk.written(1)
            disk.trouble = None
            feed.play(2)
            await disk.written(1)
    assert recorder.stats.lost["failed"] == 1
    assert len(disk.pieces) == 2


async def test_a_disk_that_hangs_at_the_end_holds_up_for_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.recorder.STOP_S", 0.01)
    disk = Disk()
    disk.gate.clear()
    async with recording(disk) as (_, feed):
        feed.play(*range(8))
    assert disk.pieces == []
    disk.gate.set()
