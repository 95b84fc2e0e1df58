"""The feed: one encode for all who watch, started and stopped with them."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from itertools import pairwise

import av
import pytest

from media.encoders.encoder import AccessUnit, Codec, EncoderError, EncoderSettings
from media.feed import Feed
from media.sources import pump
from media.sources.pattern import PatternSource
from media.sources.source import Item, Pace, Picture, RawSource, SourceError
from tests.media.pictures import decoder
from tests.media.watching import QUICK, Watcher, is_disturbed, media_threads, pattern, running, until

AT_ONCE = 60  # pictures at most, of the 600 until a key frame that nobody asked for


async def test_nothing_runs_while_nobody_watches() -> None:
    async with running(pattern()) as feed:
        await asyncio.sleep(0.02)
        assert media_threads() == set()
        assert feed.stats.source.pictures == 0
        assert (feed.width, feed.height, feed.fps, feed.has_audio) == (160, 90, 60, True)


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
async def test_first_unit_is_a_key_frame_and_all_decode(codec: Codec) -> None:
    async with running(pattern()) as feed:
        watcher = Watcher()
        feed.attach(codec, watcher)
        units = await watcher.has(5)
        assert [unit.is_key for unit in units[:5]] == [True, False, False, False, False] or is_disturbed(feed)
        assert is_disturbed(feed) or units[0].timestamp % 1500 == 0, "one of the first: a busy encoder leaves some out"
        context = decoder(codec)
        assert sum(len(context.decode(av.Packet(unit.data))) for unit in units) == len(units)


async def test_time_stamps_rise_with_the_clock_of_the_codec() -> None:
    async with running(pattern()) as feed:
        video, sound = Watcher(), Watcher()
        feed.attach(Codec.H264, video)
        feed.attach(Codec.OPUS, sound)
        stamps = [unit.timestamp for unit in await video.has(6)]
        steps = [later - earlier for earlier, later in pairwise(stamps)]
        assert all(step > 0 for step in steps)
        assert is_disturbed(feed) or all(min(step % 1500, -step % 1500) <= 1 for step in steps), (
            "whole pictures at 60 fps"
        )
        packets = await sound.has(4)
        steps = [later.timestamp - earlier.timestamp for earlier, later in pairwise(packets)]
        assert all(step > 0 for step in steps)
        assert is_disturbed(feed) or all(step % 960 == 0 for step in steps), "whole packets of 20 ms"
        skew = (packets[0].captured_at - packets[0].timestamp / 48_000) - (
            video.units[0].captured_at - video.units[0].timestamp / 90_000
        )
        assert skew == pytest.approx(0, abs=0.001), "both clocks have the same zero"


async def test_sound_is_made_only_while_somebody_hears_it() -> None:
    async with running(pattern()) as feed:
        video, sound = Watcher(), Watcher()
        feed.attach(Codec.H264, video)
        await video.has(3)
        assert feed.stats.source.sounds == 0
        feed.attach(Codec.OPUS, sound)
        await sound.has(3)


async def test_watchers_share_one_encode() -> None:
    async with running(pattern()) as feed:
        watchers = [Watcher() for _ in range(10)]
        for watcher in watchers:
            feed.attach(Codec.H264, watcher)
        for watcher in watchers:
            await watcher.has(3)
        assert all(watcher.units[2] is watchers[0].units[2] for watcher in watchers)
        frames = feed.stats.encoders["H264/0"].frames
        assert frames <= feed.stats.source.pictures, "each picture is encoded once"
        assert media_threads() == {"source", "encode-H264"}


async def test_late_watcher_gets_a_key_frame_at_once_and_nothing_before_it() -> None:
    async with running(pattern()) as feed:
        early, late = Watcher(), Watcher()
        feed.attach(Codec.H264, early)
        await early.has(6)
        frames, shown = feed.stats.encoders["H264/0"].frames, early.units[-1].timestamp
        feed.attach(Codec.H264, late)
        units = await late.has(3)
        assert units[0].is_key
        assert units[0] in early.units
        assert units[0].timestamp > shown
        assert [unit.is_key for unit in units[:3]] == [True, False, False] or is_disturbed(feed)
        assert [unit.is_key for unit in early.units].index(True, 1) <= frames + AT_ONCE or is_disturbed(feed)


async def test_watcher_who_must_wait_for_the_window_sees_nothing_before_its_key_frame() -> None:
    async with running(pattern()) as feed:
        early = Watcher()
        feed.attach(Codec.H264, early)
        await early.has(3)
        for _ in range(5):  # where the machine stands still between the two, the window is over
            late, later = Watcher(), Watcher()
            feed.attach(Codec.H264, late)
            await late.has(1)
            feed.attach(Codec.H264, later)
            units = await later.has(2)
            assert [unit.is_key for unit in units[:2]] == [True, False] or is_disturbed(feed)
            waited_s = units[0].captured_at - late.units[0].captured_at
            if waited_s > 0.2:
                break
        assert waited_s > 0.2, "one key frame per window"


async def test_keyframe_is_made_on_request() -> None:
    async with running(pattern()) as feed:
        watcher = Watcher()
        feed.attach(Codec.VP8, watcher)
        await watcher.has(3)
        feed.request_keyframe(Codec.VP8)
        feed.request_keyframe(Codec.H264)  # nobody watches that one
        await watcher.until(lambda seen: any(unit.is_key for unit in seen.units[3:]))


async def test_both_video_codecs_get_their_key_frames_from_the_same_pictures() -> None:
    async with running(pattern()) as feed:
        watchers = {codec: Watcher() for codec in (Codec.H264, Codec.VP8)}
        for codec, watcher in watchers.items():
            feed.attach(codec, watcher)
        for watcher in watchers.values():
            await watcher.has(3)
        feed.request_keyframe(Codec.H264)
        await watchers[Codec.H264].until(lambda seen: any(unit.is_key for unit in seen.units[1:]))
        await asyncio.sleep(0.05)
        assert sum(unit.is_key for unit in watchers[Codec.VP8].units) == 1 or is_disturbed(feed)


async def test_all_stops_a_while_after_the_last_watcher_left() -> None:
    async with running(pattern()) as feed:
        watcher = Watcher()
        detach = feed.attach(Codec.H264, watcher)
        await watcher.has(2)
        detach()
        detach()
        seen = len(watcher.units)
        await until(lambda: media_threads() == set())
        assert len(watcher.units) == seen


async def test_it_goes_on_for_a_while_after_the_last_watcher_left() -> None:
    async with running(pattern(), EncoderSettings(linger_s=60.0)) as feed:
        watcher = Watcher()
        detach = feed.attach(Codec.H264, watcher)
        await watcher.has(2)
        detach()
        seen, frames = len(watcher.units), feed.stats.encoders["H264/0"].frames
        await until(lambda: feed.stats.encoders["H264/0"].frames > frames + 3)
        assert len(watcher.units) == seen


async def test_watcher_who_comes_back_in_time_finds_the_encoder_running() -> None:
    async with running(pattern(), EncoderSettings(linger_s=0.3)) as feed:
        first, second = Watcher(), Watcher()
        detach = feed.attach(Codec.H264, first)
        await first.has(2)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "encode-H264"]
        detach()
        feed.attach(Codec.H264, second)
        await second.has(20)
        assert thread.is_alive()


async def test_encoder_of_one_codec_stops_while_another_is_watched() -> None:
    async with running(pattern()) as feed:
        stays, leaves = Watcher(), Watcher()
        feed.attach(Codec.H264, stays)
        detach = feed.attach(Codec.OPUS, leaves)
        await leaves.has(1)
        detach()
        await until(lambda: media_threads() == {"source", "encode-H264"})
        await stays.has(len(stays.units) + 2)


async def test_time_stamps_go_on_when_all_starts_again() -> None:
    async with running(pattern()) as feed:
        first, second = Watcher(), Watcher()
        detach = feed.attach(Codec.H264, first)
        await first.has(3)
        detach()
        await until(lambda: media_threads() == set())
        feed.attach(Codec.H264, second)
        units = await second.has(2)
        assert units[0].is_key
        last = first.units[-1]
        passed = units[0].captured_at - last.captured_at
        assert units[0].timestamp - last.timestamp == pytest.approx(passed * 90_000, abs=2)


async def test_watcher_before_the_start_is_served() -> None:
    feed = Feed(pattern(), QUICK)
    watcher = Watcher()
    feed.attach(Codec.H264, watcher)
    task = asyncio.create_task(feed.run())
    await watcher.has(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert media_threads() == set()


async def test_cancelled_twice_it_still_waits_for_its_threads_without_holding_up_the_loop() -> None:
    inside, release = threading.Event(), threading.Event()

    class Slow(PatternSource):
        def frames(self, pace: Pace) -> Generator[Item, None, None]:
            yield from super().frames(lambda time_s: time_s == 0)
            inside.set()
            release.wait(15)

    faults: list[dict[str, object]] = []
    outside = asyncio.all_tasks()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    feed = Feed(Slow(160, 90, 60), QUICK)
    task = asyncio.create_task(feed.run())
    feed.attach(Codec.H264, Watcher())
    await asyncio.to_thread(inside.wait, 15)
    for _ in range(3):
        for other in asyncio.all_tasks() - outside:  # as a loop that is shut down does
            other.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert media_threads() == set()
    await asyncio.sleep(0)
    assert faults == []


async def test_sink_that_fails_does_not_take_the_picture_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_unit: AccessUnit) -> None:
        raise RuntimeError("no such viewer")

    async with running(pattern()) as feed:
        watcher = Watcher()
        feed.attach(Codec.H264, broken)
        feed.attach(Codec.H264, watcher)
        await watcher.has(4)
        assert feed.stats.sink_errors >= 4
    assert caplog.text.count("sink failed") == 1


async def test_sink_may_leave_while_it_is_called() -> None:
    async with running(pattern()) as feed:
        seen: list[AccessUnit] = []
        detach: Callable[[], None] = lambda: None  # noqa: E731

        def once(unit: AccessUnit) -> None:
            seen.append(unit)
            detach()

        detach = feed.attach(Codec.H264, once)
        watcher = Watcher()
        feed.attach(Codec.H264, watcher)
        await watcher.has(3)
        assert len(seen) == 1


@pytest.mark.slow
async def test_units_that_a_busy_loop_cannot_take_are_dropped_up_to_a_key_frame() -> None:
    async with running(pattern()) as feed:
        watcher = Watcher()
        feed.attach(Codec.H264, watcher)
        await watcher.has(2)
        stats = feed.stats.encoders["H264/0"]
        before = len(watcher.units)
        while stats.dropped_units <= 5:
            time.sleep(0.5)  # noqa: ASYNC251  the loop is busy on purpose
            await asyncio.sleep(0)
        await watcher.until(lambda seen: any(unit.is_key for unit in seen.units[before:]))
        await watcher.has(len(watcher.units) + 8)
        gaps = [at for at in range(before, len(watcher.units)) if _steps(watcher.units, at) > 5 * 1500]
        gap = next(at for at in gaps if watcher.units[at].is_key)  # of others a source that stood still is the cause
        context = decoder(Codec.H264)
        for unit in watcher.units[gap:]:
            assert context.decode(av.Packet(unit.data))


def _steps(units: list[AccessUnit], at: int) -> int:
    return units[at].timestamp - units[at - 1].timestamp


async def test_bitrate_can_be_changed_while_it_runs_and_before() -> None:
    async with running(pattern()) as feed:
        feed.set_bitrate(Codec.VP8, 100_000)
        watcher = Watcher()
        feed.attach(Codec.VP8, watcher)
        await watcher.has(3)
        feed.set_bitrate(Codec.VP8, 100_000)
        await watcher.has(6)
        assert sum(unit.is_key for unit in watcher.units) == 1 or is_disturbed(feed), "it began with that rate"
        feed.set_bitrate(Codec.VP8, 150_000)
        await watcher.until(lambda seen: sum(unit.is_key for unit in seen.units) >= 2)


class Flaky(RawSource):
    """A source that dies after each second picture."""

    width, height, fps, has_audio = 160, 90, 60.0, False

    def __init__(self) -> None:
        self._inner = pattern()

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        pictures = 0
        inner = self._inner.frames(pace)
        for item in inner:
            if isinstance(item, Picture):
                yield item
                pictures += 1
            if pictures == 2:
                inner.close()
                raise SourceError("the cable came loose")


async def test_source_that_dies_comes_back_and_the_watchers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "FIRST_RETRY_S", 0.01)
    async with running(Flaky()) as feed:
        watcher = Watcher()
        feed.attach(Codec.H264, watcher)
        units = await watcher.has(6)
        stamps = [unit.timestamp for unit in units]
        assert stamps == sorted(set(stamps))
        assert sum(unit.is_key for unit in units) == 1 or is_disturbed(feed), "the encoder goes on"
        assert feed.stats.source.failures >= 2


async def test_sound_of_a_silent_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no sound"):
        Feed(Flaky(), QUICK).attach(Codec.OPUS, lambda _: None)


def test_unknown_encoder_is_refused_at_once() -> None:
    with pytest.raises(EncoderError, match="no encoder"):
        Feed(pattern(), EncoderSettings(encoder="nvidia"))
