"""A camera behind a feed: it is away at the start, vanishes and returns, and its watchers stay."""

import asyncio
from itertools import pairwise

import pytest

from media.encoders.encoder import AccessUnit, Codec
from media.sources import pump
from media.sources.open import open_source
from tests.media.pictures import decoder
from tests.media.sources.camera import Camera
from tests.media.test_feed_slate import shown
from tests.media.watching import Watcher, running
from tests.ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DEAD_S", 0.05)
    monkeypatch.setattr(pump, "LAST_RETRY_S", 0.5)


def rises(units: list[AccessUnit]) -> bool:
    return all(before.timestamp < after.timestamp for before, after in pairwise(units))


async def test_watchers_stay_while_a_camera_is_away() -> None:
    with Camera(gop=10) as camera:
        source = await asyncio.to_thread(open_source, camera.url(), 15.0)
        async with running(source) as feed:
            watcher, other = Watcher(), Watcher()
            feed.attach(Codec.H264, watcher)
            feed.attach(Codec.VP8, other)
            await watcher.has(15)
            await other.has(15)
            await asyncio.to_thread(camera.die)
            await watcher.until(lambda _: feed.stats.source.slates > 3)
            with Camera(gop=10, port=camera.port):
                before = feed.stats.source.pictures
                await watcher.until(lambda _: feed.stats.source.pictures > before + 10)
                await other.until(lambda _: feed.stats.source.pictures > before + 12)
    seen = shown(watcher.units)
    assert len(seen) == len(watcher.units), "each unit can be decoded after the one before it"
    assert (seen[0], True in seen, seen[-1]) == (False, True, False)
    assert rises(watcher.units)
    assert rises(other.units)
    assert len(shown(other.units, Codec.VP8)) == len(other.units)


async def test_camera_that_comes_after_the_start_is_passed_on_to_who_comes_later() -> None:
    port = free_port()
    source = await asyncio.to_thread(open_source, f"rtsp://127.0.0.1:{port}/live")
    async with running(source) as feed:
        early = Watcher()
        detach = feed.attach(Codec.H264, early)
        await early.until(lambda _: feed.stats.source.slates > 1)
        with Camera(gop=10, port=port):
            await early.until(lambda _: feed.stats.source.pictures > 5)
            detach()
            async with asyncio.timeout(15):
                while source.passes != {Codec.H264}:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # the end of a thread rings no bell
            late = Watcher()
            feed.attach(Codec.H264, late)
            await late.has(15)
    context = decoder(Codec.H264)
    sizes = {
        (frame.width, frame.height)
        for unit in late.units
        for packet in context.parse(unit.data)
        for frame in context.decode(packet)
    }
    assert "H264/0" in feed.stats.passed
    assert (160, 90) in sizes
