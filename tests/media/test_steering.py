"""Steering of real streams: what they report becomes orders, and their packets never show a gap."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from media.control.ladder import Layer, rungs
from media.encoders.encoder import AccessUnit, Codec, Shape
from media.fanout import FanOut
from media.peer.attach import Negotiated
from media.peer.stream import OutgoingStream
from media.rtp.send import Sealed
from media.rtp.viewer import Mode, SenderStats
from media.steering import TICK_S, Steering
from tests.media import plain_path

LAYERS = rungs(Shape(1280, 720, 30), 2_000_000)


class Feed:
    """A feed by hand: what was attached gets what `give` gives."""

    layers: tuple[Layer, ...] = LAYERS
    fixed: frozenset[Codec] = frozenset()

    def __init__(self) -> None:
        self.sinks: list[tuple[int, Callable[[AccessUnit], None]]] = []
        self.rates: list[tuple[Codec, int, int]] = []
        self.wishes: list[int] = []

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None], layer: int = 0) -> Callable[[], None]:
        self.sinks.append((layer, sink))
        return lambda: self.sinks.remove((layer, sink))

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        self.wishes.append(layer)

    def can_request_keyframe(self, codec: Codec, layer: int = 0) -> bool:
        return True

    def set_bitrate(self, codec: Codec, bitrate_bps: int, layer: int = 0) -> None:
        self.rates.append((codec, bitrate_bps, layer))

    def costs_key(self, codec: Codec, layer: int = 0) -> bool:
        return False

    def give(self, layer: int, timestamp: int, is_key: bool) -> None:
        data = b"\x00\x00\x01\x65%d %d" % (layer, is_key)
        for number, sink in list(self.sinks):
            if number == layer:
                sink(AccessUnit(data, timestamp, is_key, timestamp / 90_000))


class Path:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def seal(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        return plain_path.seal(heads, payloads)

    def send(self, sealed: Sealed) -> bool:
        self.written += plain_path.cut(sealed)
        return True

    def send_rtcp(self, packet: bytes) -> None:
        self.written.append(packet)

    def waiting_bytes(self) -> int:
        return 0


class Stage:
    def __init__(self, viewers: int = 1) -> None:
        self.feed, self.now, self.ended = Feed(), 100.0, 0
        self.fanout = FanOut(self.feed)
        self.paths = [Path() for _ in range(viewers)]
        self.streams = [self._stream(path) for path in self.paths]
        self.steering = Steering(self.feed, lambda: self.streams, lambda: self.now)

    def _stream(self, path: Path) -> OutgoingStream:
        stream = OutgoingStream(Codec.H264, self.fanout, self._end)
        stream.leave = self.fanout.join(Codec.H264, stream)
        stream.start(Negotiated("video", "H264", 96, 90_000, 5, None, "master", "0", {}), path)  # type: ignore[arg-type]
        return stream

    def _end(self) -> None:
        self.ended += 1

    def stats(self, number: int = 0) -> SenderStats:
        sender = self.streams[number].sender
        assert sender is not None
        return sender.stats

    def run(self, seconds: float, *, loss: Sequence[float] = (0.0,), remb: int | None = None) -> None:
        """Let each viewer be sent 2 Mbit/s, of which it loses a part."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for number, part in enumerate(loss):
                stats = self.stats(number)
                stats.payload_bytes += 125_000
                stats.packets += 100
                stats.packets_lost += round(100 * part)
                stats.remb_bps = remb
            self.steering.tick()


def test_slow_viewer_changes_its_layer_with_a_key_frame_and_the_other_does_not() -> None:
    stage = Stage(viewers=2)
    narrow, wide = stage.streams
    stage.run(2, loss=(0.8, 0.0))
    capacity = stage.steering.capacity_bps(narrow)
    assert capacity is not None
    assert capacity < 600_000
    assert stage.steering.capacity_bps(wide) is None
    stage.run(3, loss=(0.8, 0.0))
    assert stage.feed.wishes[-1] == 2
    stage.feed.give(2, 90_000, is_key=True)
    assert (narrow.layer, wide.layer) == (2, 0)
    assert stage.feed.rates == []
    assert stage.steering.stats.layers_down == 1


def test_rate_of_the_layer_follows_a_lone_viewer() -> None:
    stage = Stage()
    stage.run(5, loss=(0.2,), remb=1_400_000)
    assert stage.feed.rates == [(Codec.H264, 1_330_000, 0)]
    assert stage.steering.target_bps == {"H264/0": 1_330_000}


def test_rate_is_left_alone_once_the_source_sets_it() -> None:
    stage = Stage()
    stage.feed.fixed = frozenset({Codec.H264})
    stage.run(5, loss=(0.2,), remb=1_400_000)
    assert stage.feed.rates == []
    assert stage.steering.target_bps == {}


def test_hopeless_viewer_is_thinned_paused_and_let_go() -> None:
    stage = Stage()
    stage.streams[0].switch_layer(2)
    stage.feed.give(2, 0, is_key=True)
    modes = [stage.streams[0].mode]
    for _ in range(200):
        stage.run(TICK_S, loss=(0.98,))
        modes.append(stage.streams[0].mode)
        if stage.ended:
            break
    assert {Mode.THINNED, Mode.PAUSED, Mode.GONE} <= set(modes)
    assert stage.ended == 1
    assert 2 in stage.feed.wishes


def test_a_path_that_dies_under_an_order_ends_only_its_own_peer() -> None:
    stage = Stage(2)
    dying = stage.streams[0]

    def die(mode: Mode) -> None:
        raise ConnectionError("no candidate pair is selected")

    dying.switch_layer = dying.set_mode = die  # type: ignore[assignment, method-assign]
    stage.run(8, loss=(0.5, 0.0))
    assert stage.ended
    assert stage.streams[1].mode is Mode.WAITING


def test_streams_without_a_path_and_sound_are_left_alone() -> None:
    stage = Stage()
    sound = OutgoingStream(Codec.OPUS, stage.fanout, stage._end)
    waiting = OutgoingStream(Codec.H264, stage.fanout, stage._end)
    stage.streams += [sound, waiting]
    stage.run(1)
    assert stage.steering.target_bps == {"H264/0": 2_000_000}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("unit"), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("layer"), st.integers(0, 2), st.just(False)),
        st.tuples(st.just("mode"), st.sampled_from([Mode.LIVE, Mode.THINNED, Mode.PAUSED]), st.just(False)),
    ),
    max_size=120,
)


@pytest.mark.usefixtures("_no_replay")
@given(STEPS)
def test_packets_show_no_gap_and_pictures_can_be_decoded_over_any_order_of_layers(
    steps: list[tuple[str, int | Mode, bool]],
) -> None:
    stage = Stage()
    (stream,) = stage.streams
    for number, (kind, value, is_key) in enumerate(steps):
        if isinstance(value, Mode):
            stream.set_mode(value)
        elif kind == "layer":
            stream.switch_layer(value)
        else:
            stage.feed.give(value, 3000 * number, is_key)
    packets = [RtpPacket.parse(data) for data in stage.paths[0].written]
    assert all((one.sequence_number + 1) & 0xFFFF == other.sequence_number for one, other in pairwise(packets))
    steps_of_time = [(other.timestamp - one.timestamp) & 0xFFFFFFFF for one, other in pairwise(packets)]
    assert all(0 < step < 3000 * 120 for step in steps_of_time)
    shown = [packet.payload[1:].decode().split() for packet in packets]
    assert all(is_key == "1" or layer == before for (before, _), (layer, is_key) in pairwise(shown))
    assert not shown or shown[0][1] == "1"


@pytest.fixture
def _no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FanOut, "replay", lambda *_: None)
