import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from aiortc.rtp import RtcpPacket, RtpPacket

from media.encoders.encoder import AccessUnit, Codec
from media.fanout import FanOut
from media.peer.attach import Negotiated
from media.peer.stream import OutgoingStream
from media.rtp.feedback import KeyframeRequest, Nack
from media.rtp.send import WAITING_LIMIT, Sealed
from media.rtp.viewer import Mode
from tests.media import plain_path

SSRC = 5


class Path:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self._more = asyncio.Event()

    async def wrote(self, count: int) -> None:
        async with asyncio.timeout(15):
            while len(self.written) < count:
                self._more.clear()
                await self._more.wait()

    def seal(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        return plain_path.seal(heads, payloads)

    def send(self, sealed: Sealed) -> bool:
        self.written += plain_path.cut(sealed)
        self._more.set()
        return True

    def send_rtcp(self, packet: bytes) -> None:
        self.written.append(packet)

    def waiting_bytes(self) -> int:
        return self.waiting


class FakeFeed:
    def __init__(self) -> None:
        self.sinks: list[tuple[int, Callable[[AccessUnit], None]]] = []
        self.wishes: list[int] = []
        self.makes_keyframes = True

    @property
    def keyframes(self) -> int:
        return len(self.wishes)

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None], layer: int = 0) -> Callable[[], None]:
        self.sinks.append((layer, sink))
        return lambda: self.sinks.remove((layer, sink))

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        self.wishes.append(layer)

    def can_request_keyframe(self, codec: Codec, layer: int = 0) -> bool:
        return self.makes_keyframes or layer > 0

    def give(self, *, is_key: bool = False, captured_at: float = 0.0, layer: int = 0) -> None:
        data = b"\x00\x00\x01\x65picture%d" % layer
        for number, sink in list(self.sinks):
            if number == layer:
                sink(AccessUnit(data, round(captured_at * 90000), is_key, captured_at))


class Stage:
    def __init__(self, codec: Codec = Codec.H264, *, makes_keyframes: bool = True) -> None:
        self.feed, self.path, self.failed = FakeFeed(), Path(), asyncio.Event()
        self.feed.makes_keyframes = makes_keyframes
        self.fanout = FanOut(self.feed)
        self.stream = OutgoingStream(codec, self.fanout, self._fail)
        self.stream.leave = self.fanout.join(codec, self.stream)
        kind = "video" if codec.is_video else "audio"
        self.negotiated = Negotiated(kind, codec.value, 96, codec.clock_hz, SSRC, None, "master", "0", {})

    def _fail(self) -> None:
        self.failed.set()

    def start(self) -> None:
        self.stream.start(self.negotiated, self.path)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_nothing_goes_out_before_dtls_is_up(stage: Stage) -> None:
    stage.feed.give(is_key=True)
    stage.stream.report()
    stage.stream.receive(KeyframeRequest(SSRC))
    assert stage.path.written == []
    assert stage.feed.keyframes == 0


def test_the_start_asks_for_a_key_frame_and_begins_with_it(stage: Stage) -> None:
    stage.start()
    assert stage.feed.keyframes == 1
    stage.feed.give()
    assert stage.path.written == []
    stage.feed.give(is_key=True)
    assert len(stage.path.written) == 1


def test_a_joined_viewer_has_its_key_frame_made_before_dtls_is_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("media.peer.stream.time", SimpleNamespace(monotonic=lambda: now))
    stage.stream.prepare()
    assert stage.feed.keyframes == 1
    stage.feed.give(is_key=True, captured_at=now)
    other = OutgoingStream(Codec.H264, stage.fanout, lambda: None)
    other.leave = stage.fanout.join(Codec.H264, other)
    other.prepare()  # that one is young enough for both
    assert stage.feed.keyframes == 1
    Stage(Codec.OPUS).stream.prepare()


def test_a_waiting_viewer_asks_again_with_each_unit(stage: Stage) -> None:
    stage.start()
    stage.feed.give()
    stage.feed.give()
    assert stage.feed.keyframes == 3


async def test_a_key_frame_that_has_just_been_made_is_replayed_with_all_since_and_the_stream_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()  # in which the timers of the loop are
    monkeypatch.setattr("media.peer.stream.time", SimpleNamespace(monotonic=lambda: now))
    for age_s in (0.2, 0.1, 0.01):
        stage.feed.give(is_key=age_s == 0.2, captured_at=now - age_s)
    stage.start()
    assert len(stage.path.written) == 1  # the key frame goes out at once
    stage.feed.give(captured_at=now)
    now += 0.05
    await stage.path.wrote(4)
    stage.feed.give(captured_at=now)
    packets = [RtpPacket.parse(packet) for packet in stage.path.written]
    assert [packet.sequence_number - packets[0].sequence_number for packet in packets] == [0, 1, 2, 3, 4]
    steps = [(later.timestamp - earlier.timestamp) % 2**32 for earlier, later in itertools.pairwise(packets)]
    assert steps[:3] == [450, 450, 450]
    assert 0 < steps[3] < 9000
    assert stage.feed.keyframes == 0


async def test_without_key_frames_on_demand_a_wish_is_answered_by_a_replay_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(makes_keyframes=False)
    now = time.monotonic()
    monkeypatch.setattr("media.peer.stream.time", SimpleNamespace(monotonic=lambda: now))
    stage.feed.give(is_key=True, captured_at=now - 1.0)
    stage.feed.give(captured_at=now - 0.5)
    stage.start()
    now += 0.05
    await stage.path.wrote(2)
    stage.stream.receive(KeyframeRequest(SSRC))  # too soon after the last one
    assert len(stage.path.written) == 2
    stage.stream._no_replay_before = 0.0
    stage.stream.receive(KeyframeRequest(SSRC))
    now += 0.05
    await stage.path.wrote(4)
    payloads = [RtpPacket.parse(packet).payload for packet in stage.path.written]
    assert payloads[:2] == payloads[2:]
    assert stage.feed.keyframes == 0


async def test_a_viewer_that_closes_in_mid_replay_leaves_no_timer_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("media.peer.stream.time", SimpleNamespace(monotonic=lambda: now))  # however the machine stalls
    for number in range(5):
        stage.feed.give(is_key=number == 0, captured_at=now - 0.1)
    stage.start()
    timer = stage.stream._timer
    assert timer is not None
    stage.stream.close()
    assert timer.cancelled()
    stage.stream._go_on_guarded()


async def test_a_path_that_dies_in_mid_replay_ends_only_its_peer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("media.peer.stream.time", SimpleNamespace(monotonic=lambda: now))
    for number in range(3):
        stage.feed.give(is_key=number == 0, captured_at=now - 0.1)
    stage.start()
    stage.path.send = None  # type: ignore[assignment, method-assign]
    now += 1.0
    async with asyncio.timeout(15):
        await stage.failed.wait()


async def test_a_switch_to_a_layer_without_key_frames_on_demand_begins_with_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("media.peer.stream.time", SimpleNamespace(monotonic=lambda: now))
    stage = Stage(makes_keyframes=False)
    other = OutgoingStream(Codec.H264, stage.fanout, lambda: None)
    stage.fanout.join(Codec.H264, other)
    stage.start()
    stage.stream.switch_layer(1)
    stage.feed.give(is_key=True, layer=1)
    stage.feed.give(is_key=True, captured_at=now)
    assert stage.stream.layer == 1
    stage.stream.switch_layer(0)
    assert stage.stream.layer == 0
    assert [RtpPacket.parse(packet).payload[-1:] for packet in stage.path.written] == [b"1", b"0"]


def test_an_old_key_frame_is_not_replayed(stage: Stage) -> None:
    stage.feed.give(is_key=True, captured_at=time.monotonic() - 0.4)
    stage.start()
    assert stage.path.written == []
    assert stage.feed.keyframes == 1


def test_a_full_path_skips_units_until_a_key_frame_fits(stage: Stage) -> None:
    stage.start()
    stage.feed.give(is_key=True)
    stage.path.waiting = WAITING_LIMIT + 1
    stage.feed.give()
    stage.path.waiting = 0
    before = stage.feed.keyframes
    stage.feed.give()
    assert stage.feed.keyframes == before + 1
    stage.feed.give(is_key=True)
    assert len(stage.path.written) == 2
    assert stage.stream.sender is not None
    assert stage.stream.sender.stats.units_skipped == 1


def test_a_key_frame_may_still_go_onto_a_full_path_up_to_twice_the_bound(stage: Stage) -> None:
    stage.start()
    stage.path.waiting = 2 * WAITING_LIMIT
    stage.feed.give(is_key=True)
    assert len(stage.path.written) == 1
    stage.path.waiting += 1
    stage.feed.give(is_key=True)
    assert len(stage.path.written) == 1


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.THINNED])
def test_the_wishes_of_a_viewer_that_is_held_back_cost_the_others_no_key_frame(stage: Stage, mode: Mode) -> None:
    stage.start()
    stage.feed.give(is_key=True)
    stage.stream.set_mode(mode)
    before = stage.feed.keyframes
    stage.stream.receive(KeyframeRequest(SSRC))
    assert stage.feed.keyframes == before
    stage.stream.set_mode(Mode.LIVE)
    assert stage.feed.keyframes == before + 1
    stage.stream.receive(KeyframeRequest(SSRC))
    assert stage.feed.keyframes == before + 2


def test_feedback_makes_resends_and_key_frames(stage: Stage) -> None:
    stage.start()
    stage.feed.give(is_key=True)
    sequence = RtpPacket.parse(stage.path.written[0]).sequence_number
    stage.stream.receive(Nack(SSRC, (sequence,)))
    assert stage.path.written[0] == stage.path.written[1]
    stage.stream.receive(KeyframeRequest(SSRC))
    assert stage.feed.keyframes == 2


def test_a_dead_path_takes_the_stream_out_and_ends_the_peer(stage: Stage) -> None:
    stage.start()
    stage.path.waiting_bytes = None  # type: ignore[assignment, method-assign]
    stage.feed.give(is_key=True)
    assert stage.failed.is_set()
    assert stage.fanout.count(Codec.H264) == 0


def test_a_viewer_that_closes_between_two_packets_of_a_picture_leaves_the_others_theirs(stage: Stage) -> None:
    class Closing(Path):
        def send(self, sealed: Sealed) -> bool:
            dying.close()  # as a peer that ends does, in the middle of its own picture
            return super().send(sealed)

    dying, failures = OutgoingStream(Codec.H264, stage.fanout, lambda: failures.append(1)), list[int]()
    dying.leave = stage.fanout.join(Codec.H264, dying)
    dying.start(stage.negotiated, Closing())
    other, last = Path(), OutgoingStream(Codec.H264, stage.fanout, lambda: None)
    last.leave = stage.fanout.join(Codec.H264, last)
    stage.start()
    last.start(stage.negotiated, other)
    for number in range(3):
        stage.feed.give(is_key=True, captured_at=number / 30)
    assert (len(stage.path.written), len(other.written)) == (3, 3)
    assert stage.fanout.count(Codec.H264) == 2
    assert dying.mode is Mode.GONE


def test_the_end_says_goodbye_once_even_on_a_dead_path(stage: Stage) -> None:
    stage.start()
    stage.stream.report()
    stage.feed.give(is_key=True)
    stage.stream.report()
    stage.stream.close()
    stage.stream.close()
    assert [len(RtcpPacket.parse(packet)) for packet in stage.path.written[1:]] == [2, 3]
    assert stage.feed.sinks == []
    other = Stage()
    other.start()
    other.path.send_rtcp = None  # type: ignore[assignment, method-assign]
    other.stream.close()


def test_sound_starts_without_a_key_frame() -> None:
    stage = Stage(Codec.OPUS)
    stage.start()
    stage.feed.give()
    assert len(stage.path.written) == 1
    assert stage.feed.keyframes == 0


def test_a_switch_of_layers_goes_on_with_the_old_until_the_key_frame_of_the_new(stage: Stage) -> None:
    stage.start()
    stage.feed.give(is_key=True)
    stage.stream.switch_layer(1)
    assert stage.feed.wishes == [0, 1]
    stage.feed.give(captured_at=0.1)
    stage.feed.give(captured_at=0.1, layer=1)
    assert (stage.stream.layer, len(stage.path.written)) == (0, 2)
    stage.feed.give(captured_at=0.1, layer=1, is_key=True)
    stage.feed.give(captured_at=0.2)
    stage.feed.give(captured_at=0.2, layer=1)
    packets = [RtpPacket.parse(packet) for packet in stage.path.written]
    assert [packet.payload[-1:] for packet in packets] == [b"0", b"0", b"1", b"1"]
    first = packets[0]
    assert [packet.sequence_number - first.sequence_number for packet in packets] == [0, 1, 2, 3]
    assert [(packet.timestamp - first.timestamp) % 2**32 for packet in packets] == [0, 9000, 9001, 18000]
    assert {packet.ssrc for packet in packets} == {SSRC}
    assert [layer for layer, _ in stage.feed.sinks] == [1]
    stage.stream.close()
    assert stage.feed.sinks == []


def test_a_switch_that_is_taken_back_leaves_everything_as_it_was(stage: Stage) -> None:
    stage.start()
    stage.feed.give(is_key=True)
    stage.stream.switch_layer(1)
    stage.stream.switch_layer(1)
    stage.stream.switch_layer(2)
    assert [layer for layer, _ in stage.feed.sinks] == [0, 2]
    stage.stream.switch_layer(0)
    assert [layer for layer, _ in stage.feed.sinks] == [0]
    stage.stream.switch_layer(2)
    stage.stream.close()
    assert stage.feed.sinks == []


def test_modes_thin_pause_and_resume_with_a_key_frame(stage: Stage) -> None:
    assert stage.stream.mode is Mode.WAITING
    stage.stream.set_mode(Mode.PAUSED)  # nothing to pause yet
    stage.start()
    stage.feed.give(is_key=True)
    assert stage.stream.mode is Mode.LIVE
    stage.stream.set_mode(Mode.THINNED)
    stage.feed.give()
    assert len(stage.path.written) == 1
    stage.feed.give(is_key=True)
    assert len(stage.path.written) == 2
    stage.stream.set_mode(Mode.PAUSED)
    stage.feed.give(is_key=True)
    assert len(stage.path.written) == 2
    before = stage.feed.keyframes
    stage.stream.set_mode(Mode.LIVE)
    assert stage.feed.keyframes == before + 1
    stage.feed.give()
    stage.feed.give(is_key=True)
    assert (stage.stream.mode, len(stage.path.written)) == (Mode.LIVE, 3)
    stage.stream.set_mode(Mode.GONE)
    assert stage.failed.is_set()
    stage.stream.close()
    assert stage.stream.mode is Mode.GONE
