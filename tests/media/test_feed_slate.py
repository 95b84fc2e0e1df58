"""What watchers of a dead source see: a picture that says so, until the source is back."""

import threading
from collections.abc import Generator
from itertools import pairwise

import av
import pytest

from media.encoders.encoder import AccessUnit, Codec
from media.sources import pump
from media.sources.slate import LUMA
from media.sources.source import Item, Pace, RawSource, SourceError
from tests.media.passing import PassingSource
from tests.media.pictures import decoder
from tests.media.watching import Watcher, media_threads, pattern, running, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DEAD_S", 0.05)
    monkeypatch.setattr(pump, "FIRST_RETRY_S", 0.05)


class Dying(RawSource):
    """A raw source that dies once, after 20 items, and gives nothing more before `comes_back`."""

    width, height, fps, has_audio = 160, 90, 60.0, False

    def __init__(self) -> None:
        self._items = 0
        self.comes_back = threading.Event()

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        if self._items:
            self.comes_back.wait(30)
        for item in pattern().frames(pace):
            yield item
            self._items += 1
            if self._items == 20:
                raise SourceError("the cable came loose")


def is_slate(frame: av.VideoFrame) -> bool:
    luma = frame.to_ndarray()[:90]
    return float((abs(luma.astype(int) - LUMA) < 6).mean()) > 0.6


def shown(units: list[AccessUnit], codec: Codec = Codec.H264) -> list[bool]:
    """Of each unit whether it is the slate; all must decode, one after the other."""
    context = decoder(codec)
    return [is_slate(frame) for unit in units for frame in context.decode(av.Packet(unit.data))]


async def test_dead_raw_source_is_replaced_by_a_slate_and_comes_back() -> None:
    source = Dying()
    async with running(source) as feed:
        watcher = Watcher()
        feed.attach(Codec.H264, watcher)
        await until(lambda: feed.stats.source.slates >= 3)
        source.comes_back.set()
        await until(lambda: feed.stats.source.pictures > 20)
        await watcher.has(len(watcher.units) + 4)
        seen = shown(watcher.units)
        assert len(seen) == len(watcher.units)
        first, last = seen.index(True), len(seen) - seen[::-1].index(True)
        assert 0 < first < last < len(seen)
        assert all(seen[first:last]), "the source, the slate, the source"
        assert all(later.timestamp > earlier.timestamp for earlier, later in pairwise(watcher.units))
        assert feed.stats.source.slates >= last - first >= 1


async def test_dead_encoded_source_is_replaced_by_an_encoded_slate() -> None:
    source = PassingSource(dies_after=12)
    async with running(source) as feed:
        watcher, other = Watcher(), Watcher()
        feed.attach(Codec.H264, watcher)
        feed.attach(Codec.VP8, other)
        await watcher.until(lambda _: feed.stats.source.slates > 0)
        late, slates = Watcher(), feed.stats.source.slates
        feed.attach(Codec.H264, late)
        await late.has(1)
        await until(lambda: feed.stats.source.slates >= slates + 2)
        source.comes_back.set()
        await until(lambda: feed.stats.source.pictures > 20)
        await watcher.has(len(watcher.units) + 4)
        seen = shown(watcher.units)
        assert len(seen) == len(watcher.units)
        first, last = seen.index(True), len(seen) - seen[::-1].index(True)
        assert all(seen[first:last])
        assert watcher.units[first].is_key
        assert watcher.units[last].is_key
        assert all(later.timestamp > earlier.timestamp for earlier, later in pairwise(watcher.units))
        assert late.units[0].is_key
        assert shown(late.units)[0], "who comes meanwhile sees it too"
        assert any(shown(other.units, Codec.VP8)), "also through the encoder of another codec"
        await until(lambda: media_threads() == {"source", "decode", "encode-VP8"})
