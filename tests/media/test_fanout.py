from collections.abc import Callable

import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor

from media.encoders.encoder import AccessUnit, Codec
from media.fanout import FanOut
from media.rtp.packetize import PacketizedUnit
from media.stages import Parcel

UNIT = AccessUnit(b"\x00\x00\x00\x01\x65picture", 3000, True, 1.0)


class FakeFeed:
    def __init__(self) -> None:
        self.sinks: dict[tuple[Codec, int], list[Callable[[AccessUnit], None]]] = {}
        self.keyframes: list[tuple[Codec, int]] = []
        self.makes_keyframes = True
        self.layers = 3

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None], layer: int = 0) -> Callable[[], None]:
        if layer >= self.layers:
            raise ValueError(f"there is no layer {layer}")
        self.sinks.setdefault((codec, layer), []).append(sink)
        return lambda: self.sinks[codec, layer].remove(sink)

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        self.keyframes.append((codec, layer))

    def can_request_keyframe(self, codec: Codec, layer: int = 0) -> bool:
        return self.makes_keyframes or layer > 0

    def give(self, codec: Codec, unit: AccessUnit, layer: int = 0) -> None:
        for sink in list(self.sinks.get((codec, layer), [])):
            sink(unit)


class Viewer:
    def __init__(self) -> None:
        self.units: list[PacketizedUnit] = []
        self.errors: list[Exception] = []

    def load(self, unit: PacketizedUnit) -> Parcel | None:
        self.units.append(unit)
        return None

    def fail(self, error: Exception) -> None:
        self.errors.append(error)


class Dying(Viewer):
    def load(self, unit: PacketizedUnit) -> Parcel | None:
        raise AttributeError("'NoneType' object has no attribute 'sendto'")


@pytest.fixture
def feed() -> FakeFeed:
    return FakeFeed()


@pytest.fixture
def fanout(feed: FakeFeed) -> FanOut:
    return FanOut(feed)


def test_all_viewers_share_one_packetization(feed: FakeFeed, fanout: FanOut) -> None:
    viewers = [Viewer() for _ in range(3)]
    for viewer in viewers:
        fanout.join(Codec.H264, viewer)
    assert len(feed.sinks[Codec.H264, 0]) == 1
    feed.give(Codec.H264, UNIT)
    first = viewers[0].units[0]
    assert first.payloads == (b"\x65picture",)
    assert (first.timestamp, first.is_key, first.captured_at, first.size) == (3000, True, 1.0, 8)
    assert all(viewer.units[0] is first for viewer in viewers)
    assert (fanout.stats.units, fanout.stats.deliveries) == (1, 3)


def test_a_dying_viewer_leaves_the_others_their_picture(feed: FakeFeed, fanout: FanOut) -> None:
    before, dying, after = Viewer(), Dying(), Viewer()
    for viewer in (before, dying, after):
        fanout.join(Codec.H264, viewer)
    feed.give(Codec.H264, UNIT)
    feed.give(Codec.H264, UNIT)
    assert len(before.units) == len(after.units) == 2
    assert len(dying.errors) == 1
    assert fanout.count(Codec.H264) == 2
    assert fanout.stats.failed == 1


def test_a_viewer_whose_end_fails_too_leaves_the_others_their_picture(feed: FakeFeed, fanout: FanOut) -> None:
    class DyingTwice(Dying):
        def fail(self, error: Exception) -> None:
            raise RuntimeError("no end either")

    after = Viewer()
    fanout.join(Codec.H264, DyingTwice())
    fanout.join(Codec.H264, after)
    feed.give(Codec.H264, UNIT)
    assert len(after.units) == 1


def test_a_viewer_that_leaves_while_it_is_served_does_not_disturb_the_round(feed: FakeFeed, fanout: FanOut) -> None:
    class Leaving(Viewer):
        def load(self, unit: PacketizedUnit) -> Parcel | None:
            leave()
            return super().load(unit)

    leaving, after = Leaving(), Viewer()
    leave = fanout.join(Codec.H264, leaving)
    fanout.join(Codec.H264, after)
    feed.give(Codec.H264, UNIT)
    feed.give(Codec.H264, UNIT)
    assert (len(leaving.units), len(after.units)) == (1, 2)


def test_the_last_one_to_leave_detaches_the_feed_and_the_next_attaches_again(feed: FakeFeed, fanout: FanOut) -> None:
    leave_first, leave_second = fanout.join(Codec.H264, Viewer()), fanout.join(Codec.H264, Viewer())
    leave_first()
    leave_first()
    assert len(feed.sinks[Codec.H264, 0]) == 1
    leave_second()
    assert feed.sinks[Codec.H264, 0] == []
    viewer = Viewer()
    fanout.join(Codec.H264, viewer)
    feed.give(Codec.H264, UNIT)
    assert len(viewer.units) == 1


def test_a_lone_viewer_that_dies_detaches_the_feed_when_it_leaves(feed: FakeFeed, fanout: FanOut) -> None:
    leave = fanout.join(Codec.H264, Dying())
    feed.give(Codec.H264, UNIT)
    leave()
    assert feed.sinks[Codec.H264, 0] == []


def test_each_codec_has_its_own_packets(feed: FakeFeed, fanout: FanOut) -> None:
    vp8, opus = Viewer(), Viewer()
    fanout.join(Codec.VP8, vp8)
    fanout.join(Codec.OPUS, opus)
    feed.give(Codec.VP8, AccessUnit(b"frame", 0, True, 0.0))
    feed.give(Codec.OPUS, AccessUnit(b"sound", 0, True, 0.0, 42))
    assert VpxPayloadDescriptor.parse(vp8.units[0].payloads[0])[1] == b"frame"
    assert (opus.units[0].payloads, opus.units[0].audio_level) == ((b"sound",), 42)


def test_an_empty_unit_is_nobodys_business(feed: FakeFeed, fanout: FanOut) -> None:
    viewer = Viewer()
    fanout.join(Codec.OPUS, viewer)
    feed.give(Codec.OPUS, AccessUnit(b"", 0, True, 0.0))
    assert viewer.units == []


def test_key_frame_requests_reach_the_feed(feed: FakeFeed, fanout: FanOut) -> None:
    fanout.request_keyframe(Codec.VP8)
    fanout.request_keyframe(Codec.VP8, 2)
    assert feed.keyframes == [(Codec.VP8, 0), (Codec.VP8, 2)]


def test_each_layer_has_its_own_viewers_and_marks_its_units(feed: FakeFeed, fanout: FanOut) -> None:
    full, half = Viewer(), Viewer()
    fanout.join(Codec.H264, full)
    leave = fanout.join(Codec.H264, half, 1)
    feed.give(Codec.H264, UNIT)
    feed.give(Codec.H264, UNIT, 1)
    assert [unit.layer for unit in full.units + half.units] == [0, 1]
    leave()
    assert (fanout.count(Codec.H264), fanout.count(Codec.H264, 1)) == (1, 0)
    assert feed.sinks[Codec.H264, 1] == []


@pytest.mark.parametrize(("makes_keyframes", "kept_s"), [(True, 0.3), (False, 2.0)])
def test_a_key_frame_is_kept_longer_where_none_can_be_had_by_asking(
    feed: FakeFeed, fanout: FanOut, makes_keyframes: bool, kept_s: float
) -> None:
    feed.makes_keyframes = makes_keyframes
    assert fanout.can_request_keyframe(Codec.H264) is makes_keyframes
    assert fanout.replay(Codec.H264, 1.0) is None
    leave = fanout.join(Codec.H264, Viewer())
    feed.give(Codec.H264, UNIT)
    assert fanout.replay(Codec.H264, 0.99 + kept_s) is not None
    assert fanout.replay(Codec.H264, 1.01 + kept_s) is None
    leave()
    assert fanout.replay(Codec.H264, 1.0) is None


def test_how_long_a_key_frame_is_kept_changes_with_what_the_source_passes(feed: FakeFeed, fanout: FanOut) -> None:
    leave = fanout.join(Codec.H264, Viewer())
    feed.give(Codec.H264, UNIT)
    assert fanout.replay(Codec.H264, 2.5) is None
    feed.makes_keyframes = False  # a camera that was away is there, and its viewers stayed
    feed.give(Codec.H264, UNIT)
    assert fanout.replay(Codec.H264, 2.5) is not None
    leave()
    feed.makes_keyframes = True
    fanout.join(Codec.H264, Viewer())
    feed.give(Codec.H264, UNIT)
    assert fanout.replay(Codec.H264, 2.5) is None


def test_who_asks_for_a_layer_that_there_is_not_is_not_kept(feed: FakeFeed, fanout: FanOut) -> None:
    feed.layers = 1
    with pytest.raises(ValueError, match="layer 1"):
        fanout.join(Codec.H264, Viewer(), 1)
    assert fanout.count(Codec.H264, 1) == 0
    feed.layers = 2
    fanout.join(Codec.H264, Viewer(), 1)
    assert (fanout.count(Codec.H264, 1), len(feed.sinks[Codec.H264, 1])) == (1, 1)
