"""A feed whose device breaks in mid-stream: watchers stay, and how long they see nothing is measured."""

import asyncio
import itertools
import time

import av
import pytest

from media.encoders import choose
from media.encoders.backends import BY_NAME
from media.encoders.encoder import Codec, EncoderSettings
from media.feed import Feed
from media.master import Master, MasterSettings
from media.peer import gather
from media.sources.pattern import PatternSource
from media.viewer import ViewerSettings, watch
from tests.measured import Row
from tests.media.encoders.fake import FakeDevice, Faults
from tests.media.line import Line
from tests.media.pictures import decoder
from tests.media.watching import Watcher

SETTINGS = EncoderSettings(bitrate_bps=200_000, usable=(BY_NAME["nvenc"],))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    ("faults", "reason"),
    [(Faults(dies_at=15), "broke"), (Faults(stalls_at=15), "stalled"), (Faults(hangs_at=15), "stalled")],
    ids=["dies", "stalls", "hangs"],
)
async def test_watchers_of_a_device_that_breaks_go_on(
    faults: Faults, reason: str, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason != "stalled":
        monkeypatch.setattr(choose, "STALL_S", 15.0)  # however the machine stalls, the device does not
    device = FakeDevice(faults)
    feed = Feed(PatternSource(160, 90, 30), SETTINGS, chains=device.chains())
    watchers, arrivals = [Watcher(), Watcher()], []
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        for watcher in watchers:
            feed.attach(Codec.H264, watcher)
        feed.attach(Codec.H264, lambda _: arrivals.append(time.monotonic()))
        for watcher in watchers:
            await watcher.has(30)
        running.cancel()
        device.released.set()
    assert feed.stats.fallbacks == {f"nvenc/x264/{reason}": 1}
    row("longest without a picture", max(b - a for a, b in itertools.pairwise(arrivals)), goal=1.0)
    for watcher in watchers:
        assert [unit.is_key for unit in watcher.units].count(True) == 2
        context = decoder(Codec.H264)
        assert all(context.decode(av.Packet(unit.data)) for unit in watcher.units)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not gather.has_host_addresses(), reason="this machine has no address besides loopback")
async def test_two_real_viewers_watch_on_when_the_device_hangs(row: Row) -> None:
    device = FakeDevice(Faults(hangs_at=40))
    feed = Feed(PatternSource(320, 180, 30), SETTINGS, chains=device.chains())
    line, ready = Line(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed.run())
        master = Master(line.client(), feed, MasterSettings())  # type: ignore[arg-type]
        serving = group.create_task(master.run(ready.set))
        await ready.wait()
        async with asyncio.TaskGroup() as watching:
            settings = ViewerSettings(frames=100, timeout_s=60)
            viewers = [watching.create_task(watch(line.client(name), settings)) for name in ("v1", "v2")]  # type: ignore[arg-type]
        serving.cancel()
        feeding.cancel()
        device.released.set()
    assert feed.stats.fallbacks == {"nvenc/x264/stalled": 1}
    for viewer in viewers:
        report = viewer.result()
        assert report.frames == 100
        assert report.counter_first is not None
        assert report.counter_last is not None
        missed = report.counter_last - report.counter_first + 1 - report.frames
        row("pictures missed", missed, "pictures", goal=60)
    for connection in line.viewers.values():
        assert [kind for kind, *_ in connection.sent].count("SDP_OFFER") == 1, "nobody had to join again"
