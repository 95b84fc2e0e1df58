import asyncio
from collections.abc import Callable

import msgspec
import pytest

from media.encoders.choose import Chains
from media.encoders.encoder import AccessUnit, Codec, EncoderSettings, Shape
from media.feed import Feed
from media.snapshots import SnapshotError, Snapshots
from media.sources.pattern import PatternSource
from tests.media.pictures import captures
from tests.media.stage import running_feed


async def picture(feed: Feed) -> None:
    seen = asyncio.Event()
    detach = feed.attach(Codec.H264, lambda unit: seen.set())
    async with asyncio.timeout(15):
        await seen.wait()
    detach()


async def test_all_who_ask_at_once_get_one_picture() -> None:
    async with running_feed() as feed:
        await picture(feed)
        snapshots = Snapshots(feed)
        first, second = await asyncio.gather(snapshots.take(Codec.H264), snapshots.take(Codec.VP8))
        assert first is second
        assert (first.width, first.height) == (320, 180)


class Passing:
    """A feed without raw pictures; it gives `units` to who attaches."""

    last_picture = None

    def __init__(self, *units: AccessUnit) -> None:
        self.units = units
        self.attached = 0

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None]) -> Callable[[], None]:
        self.attached += 1
        for unit in self.units:
            asyncio.get_running_loop().call_soon(sink, unit)
        return self.detach

    def detach(self) -> None:
        self.attached -= 1


async def test_where_nothing_is_raw_the_next_key_frame_is_shown() -> None:
    (capture,) = captures(PatternSource(160, 90, 30), 1)
    encoder = Chains().chain(Codec.H264, Shape(160, 90, 30.0), EncoderSettings()).open()
    (key,) = encoder.encode(capture, True)
    encoder.close()
    feed = Passing(msgspec.structs.replace(key, is_key=False, data=b""), key, key)
    jpeg = await Snapshots(feed).take(Codec.H264)  # type: ignore[arg-type]
    assert (jpeg.width, jpeg.height) == (160, 90)
    assert feed.attached == 0


async def test_a_source_without_key_frames_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.snapshots._LIMIT_S", 0.02)
    with pytest.raises(SnapshotError, match="no picture"):
        await Snapshots(Passing()).take(Codec.H264)  # type: ignore[arg-type]
