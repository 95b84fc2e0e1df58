"""A source that passes other codecs from one play to the next: whoever watches gets what it gives now."""

import asyncio
import threading
from collections.abc import Generator
from itertools import pairwise

import pytest

from media.encoders.encoder import Codec
from media.sources import pump
from media.sources.source import Item, Pace, SourceError
from tests.media.passing import PassingSource
from tests.media.test_feed_slate import shown
from tests.media.watching import LIMIT_S, Watcher, media_threads, pattern, running, until

RAW: frozenset[Codec] = frozenset()
PASSED = PassingSource.passes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DEAD_S", 0.05)
    monkeypatch.setattr(pump, "FIRST_RETRY_S", 0.05)


class Changing(PassingSource):
    """The test pattern, raw or encoded, as `passes` says."""

    def __init__(self, first: frozenset[Codec], then: frozenset[Codec]) -> None:
        super().__init__()
        self.passes = first
        self.then = then

    def items(self, pace: Pace) -> Generator[Item, None, None]:
        return super().frames(pace) if self.passes else pattern().frames(pace)


class Parting(Changing):
    """It takes its time to end, and changes at its end."""

    def __init__(self, first: frozenset[Codec], then: frozenset[Codec]) -> None:
        super().__init__(first, then)
        self.is_ending, self.may_end = threading.Event(), threading.Event()

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        try:
            yield from self.items(pace)
        finally:
            self.is_ending.set()
            self.may_end.wait(LIMIT_S)
            self.passes = self.then


class Rebooted(Changing):
    """It dies when told, and is found to be another one when it is there again."""

    def __init__(self, first: frozenset[Codec], then: frozenset[Codec]) -> None:
        super().__init__(first, then)
        self.dies, self.is_back = threading.Event(), threading.Event()

    def frames(self, pace: Pace) -> Generator[Item, None, None]:
        if self.dies.is_set():
            self.is_back.wait(LIMIT_S)
            self.dies.clear()
            self.passes = self.then
            raise SourceError("it is another one now")
        for item in self.items(pace):
            yield item
            if self.dies.is_set():
                raise SourceError("the power is cut")


@pytest.mark.parametrize(
    ("first", "then", "threads"),
    [(PASSED, RAW, {"source", "encode-H264"}), (RAW, PASSED, {"source"})],
    ids=["encoded-anew", "passed"],
)
async def test_who_joins_while_the_source_ends_gets_what_it_gives_afterwards(
    first: frozenset[Codec], then: frozenset[Codec], threads: set[str]
) -> None:
    source = Parting(first, then)
    async with running(source) as feed:
        early = Watcher()
        leave = feed.attach(Codec.H264, early)
        await early.has(2)
        line = feed._lines[Codec.H264, 0]
        leave()
        await until(lambda: source.is_ending.is_set() and line.runner is None)
        for _ in range(2):  # the one in that moment, and one who comes later
            watcher = Watcher()
            leave = feed.attach(Codec.H264, watcher)
            await until(lambda: line.runner is not None)
            source.may_end.set()
            units = await watcher.has(4)
            assert len(shown(units)) == len(units)
            await until(lambda: media_threads() == threads)
            leave()
            await until(lambda: media_threads() == set())


async def test_decoder_of_a_line_that_began_while_the_source_ended_is_not_left_behind() -> None:
    source = Parting(PASSED, RAW)
    async with running(source) as feed:
        leave = feed.attach(Codec.H264, Watcher())
        await until(lambda: feed.stats.source.pictures > 0)
        leave()
        await asyncio.to_thread(source.is_ending.wait, LIMIT_S)
        watcher = Watcher()
        feed.attach(Codec.VP8, watcher)
        await until(lambda: "decode" in media_threads())
        source.may_end.set()
        await watcher.has(2)
        await until(lambda: media_threads() == {"source", "encode-VP8"})


@pytest.mark.parametrize(
    ("first", "then", "threads"),
    [
        (PASSED, RAW, {"source", "encode-H264", "encode-VP8", "encode-opus"}),
        (RAW, PASSED, {"source", "decode", "encode-VP8"}),
    ],
    ids=["encoded-anew", "passed"],
)
async def test_watchers_stay_when_a_source_comes_back_as_another(
    first: frozenset[Codec], then: frozenset[Codec], threads: set[str]
) -> None:
    source = Rebooted(first, then)
    async with running(source) as feed:
        watchers = {codec: Watcher() for codec in Codec}
        for codec, watcher in watchers.items():
            feed.attach(codec, watcher)
        for watcher in watchers.values():
            await watcher.has(3)
        source.dies.set()
        slates = feed.stats.source.slates
        await until(lambda: feed.stats.source.slates >= slates + 3)
        pictures, sounds = feed.stats.source.pictures, feed.stats.source.sounds
        source.is_back.set()
        await until(lambda: feed.stats.source.pictures > pictures and feed.stats.source.sounds > sounds)
        await watchers[Codec.OPUS].has(len(watchers[Codec.OPUS].units) + 2)
        for codec in (Codec.H264, Codec.VP8):
            await shows_the_source_again(watchers[codec], codec)
        await until(lambda: media_threads() == threads)
        for watcher in watchers.values():
            assert all(later.timestamp > earlier.timestamp for earlier, later in pairwise(watcher.units))


async def shows_the_source_again(watcher: Watcher, codec: Codec) -> None:
    """Wait until the last picture is one of the source, after those that stood for it."""
    while True:
        seen = shown(watcher.units, codec)
        assert len(seen) == len(watcher.units), "each can be decoded after the one before it"
        if True in seen and not seen[-1]:
            return
        await watcher.has(len(watcher.units) + 1)
