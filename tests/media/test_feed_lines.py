"""Lines of a feed: smaller layers, and what a source gives encoded."""

import av
import pytest

from media.encoders.encoder import Codec
from media.feed import Feed
from media.sources.pattern import PatternSource
from tests.media.passing import PassingSource
from tests.media.pictures import decoder
from tests.media.watching import QUICK, Watcher, is_disturbed, media_threads, running, until


def wide() -> PatternSource:
    return PatternSource(320, 180, 60)


async def test_each_layer_has_its_own_encoder_and_size() -> None:
    async with running(wide()) as feed:
        assert [(layer.width, layer.bitrate_bps) for layer in feed.layers] == [(320, 200_000), (160, 60_000)]
        watchers = {(codec, layer): Watcher() for codec, layer in ((Codec.H264, 0), (Codec.H264, 1), (Codec.VP8, 1))}
        for (codec, layer), watcher in watchers.items():
            feed.attach(codec, watcher, layer)
        for (codec, layer), watcher in watchers.items():
            first, *_ = await watcher.has(3)
            (frame,) = decoder(codec).decode(av.Packet(first.data))
            assert (frame.width, frame.height, first.layer, first.is_key) == (320 >> layer, 180 >> layer, layer, True)
        assert media_threads() == {"source", "encode-H264", "encode-H264-1", "encode-VP8-1"}
        assert feed.stats.encoders.keys() == {"H264/0", "H264/1", "VP8/1"}
        h264, small = (feed.stats.encoders[name].frames for name in ("H264/1", "VP8/1"))
        assert feed._scalers[1].scaled <= max(h264, small) + 3, "one scaling for both codecs"


async def test_layer_stops_when_it_is_no_longer_watched_and_the_others_go_on() -> None:
    async with running(wide()) as feed:
        full, small = Watcher(), Watcher()
        feed.attach(Codec.H264, full)
        leave = feed.attach(Codec.H264, small, 1)
        await small.has(1)
        leave()
        await until(lambda: media_threads() == {"source", "encode-H264"})
        await full.has(len(full.units) + 2)


async def test_time_stamps_of_the_layers_are_those_of_the_pictures() -> None:
    async with running(wide()) as feed:
        full, small = Watcher(), Watcher()
        feed.attach(Codec.H264, full)
        feed.attach(Codec.H264, small, 1)
        await full.has(4)
        await small.has(4)
        await until(
            lambda: len({unit.timestamp for unit in full.units} & {unit.timestamp for unit in small.units}) >= 3
        )


@pytest.mark.parametrize(("codec", "layer"), [(Codec.H264, 2), (Codec.H264, -1), (Codec.OPUS, 1)])
def test_layer_that_is_not_there_is_refused(codec: Codec, layer: int) -> None:
    with pytest.raises(ValueError, match="no layer"):
        Feed(wide(), QUICK).attach(codec, lambda _: None, layer)


def test_number_of_layers_can_be_limited() -> None:
    assert len(Feed(wide(), QUICK, max_layers=1).layers) == 1


async def test_encoded_pictures_and_sound_pass_as_they_are() -> None:
    async with running(PassingSource()) as feed:
        video, sound = Watcher(), Watcher()
        feed.attach(Codec.H264, video)
        feed.attach(Codec.OPUS, sound)
        units = await video.has(7)
        await sound.has(3)
        keys = [unit.is_key for unit in units[:7]]
        assert keys == [True, False, False, False, False, True, False] or is_disturbed(feed)
        context = decoder(Codec.H264)
        assert all(len(context.decode(av.Packet(unit.data))) == 1 for unit in units[:7])
        assert media_threads() == {"source"}, "nothing is encoded or decoded"
        assert not feed.can_request_keyframe(Codec.H264)
        assert feed.can_request_keyframe(Codec.H264, 1) is feed.can_request_keyframe(Codec.VP8) is True
        assert feed.stats.passed["H264/0"].units >= 7


async def test_other_lines_of_an_encoded_source_are_made_from_decoded_pictures() -> None:
    async with running(PassingSource()) as feed:
        passed, other = Watcher(), Watcher()
        feed.attach(Codec.H264, passed)
        await passed.has(1)
        leave = feed.attach(Codec.VP8, other)
        first, *_ = await other.has(3)
        (frame,) = decoder(Codec.VP8).decode(av.Packet(first.data))
        assert (frame.width, frame.height) == (160, 90)
        assert media_threads() == {"source", "decode", "encode-VP8"}
        assert first.timestamp in {unit.timestamp for unit in passed.units} or is_disturbed(feed)
        leave()
        await until(lambda: media_threads() == {"source"})
        await passed.has(len(passed.units) + 2)
        await until(lambda: feed._decoder is None)
        feed.attach(Codec.VP8, Watcher())
        await until(lambda: "decode" in media_threads())


async def test_decoder_that_starts_late_need_not_wait_for_a_key_frame() -> None:
    async with running(PassingSource(gop=1000)) as feed:
        passed, other = Watcher(), Watcher()
        feed.attach(Codec.H264, passed)
        await passed.has(20)
        feed.attach(Codec.VP8, other)
        first, *_ = await other.has(3)
        assert first.timestamp >= passed.units[18].timestamp, "what came before was decoded, but not given"
        before = [unit for unit in passed.units if unit.timestamp <= first.timestamp]
        assert sum(unit.is_key for unit in before) == 1 or is_disturbed(feed), "one comes each ten seconds in any case"


async def test_source_that_can_make_key_frames_is_asked_for_them() -> None:
    source = PassingSource(gop=1000, can_request_keyframe=True)
    async with running(source) as feed:
        assert feed.can_request_keyframe(Codec.H264)
        early, late = Watcher(), Watcher()
        feed.attach(Codec.H264, early)
        await early.has(3)
        feed.attach(Codec.H264, late)
        await late.has(1)
        assert source.requests >= 1


async def test_line_of_an_encoded_source_can_be_left_and_watched_again() -> None:
    async with running(PassingSource()) as feed:
        first, second = Watcher(), Watcher()
        leave = feed.attach(Codec.H264, first)
        await first.has(1)
        leave()
        await until(lambda: media_threads() == set())
        feed.attach(Codec.H264, second)
        units = await second.has(2)
        assert units[0].is_key
        assert units[0].timestamp > first.units[-1].timestamp
