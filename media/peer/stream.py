"""One outgoing stream of one viewer: from the fan-out to the encrypted path, and its feedback back."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from media.control.gop import Replay
from media.fanout import FanOut
from media.feed import Codec
from media.peer.attach import Negotiated
from media.rtp.clock import ntp_now
from media.rtp.feedback import Feedback
from media.rtp.header import ExtensionIds
from media.rtp.packetize import PacketizedUnit
from media.rtp.send import Parcel, Path, PathSender
from media.rtp.viewer import Mode, SenderStats, Stream, Turn, ViewerSender

_log = logging.getLogger(__name__)

_FIRST_SEQUENCES = 1 << 15  # the lower half: a wrap in the first packets breaks SRTP when one of them is lost
REPLAY_EVERY_S = 2.0
"""A viewer that asks again meanwhile waits for the next key frame: replays double what it gets."""

_ORDERS = {
    Mode.WAITING: Turn.RESUME,
    Mode.LIVE: Turn.RESUME,
    Mode.THINNED: Turn.THIN,
    Mode.PAUSED: Turn.PAUSE,
    Mode.GONE: Turn.END,
}


def _nothing() -> None:
    return


class OutgoingStream:
    """Recipient of the fan-out; silent until `start`, that is until DTLS is up.

    `layer` is the one it gets, 0 the full size; `wanted_layer` is the largest that the viewer chose, None for any.
    """

    def __init__(self, codec: Codec, fanout: FanOut, on_fail: Callable[[], None]) -> None:
        self.codec = codec
        self.layer = 0
        self.wanted_layer: int | None = None
        self.sender: ViewerSender | None = None
        self.path: PathSender | None = None
        self.sent: SenderStats | None = None
        """Counters, which outlive the stream; None before `start`."""
        self.first_sent_at: float | None = None
        """Monotonic seconds."""
        self.leave: Callable[[], None] = _nothing
        self._fanout = fanout
        self._on_fail = on_fail
        self._is_closed = False
        self._next_layer: int | None = None
        self._leave_next: Callable[[], None] = _nothing
        self._replay: Replay | None = None
        self._no_replay_before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def prepare(self) -> None:
        """Joined: have a young key frame at hand by the time that DTLS is up, some 50 to 100 ms from now."""
        if not self.codec.is_video or not self._fanout.can_request_keyframe(self.codec):
            return
        if self._fanout.replay(self.codec, time.monotonic()) is None:
            self._fanout.request_keyframe(self.codec)

    def start(self, negotiated: Negotiated, path: Path) -> None:
        """Send from now on, beginning with a key frame: the last one with all since, else one that this asks for.

        Raises whatever a closed transport raises.
        """
        is_video = negotiated.kind == "video"
        self.sender = ViewerSender(
            Stream(
                ssrc=negotiated.ssrc,
                payload_type=negotiated.payload_type,
                clock_rate=negotiated.clock_rate,
                cname=negotiated.cname,
                mid=negotiated.mid,
                ids=ExtensionIds.of(negotiated.extensions),
                rtx=negotiated.rtx,
                first_sequence=secrets.randbelow(_FIRST_SEQUENCES),
                timestamp_offset=secrets.randbits(32),
                has_keyframes=is_video,
                keeps_history=is_video,
            )
        )
        self.path, self.sent = PathSender(path), self.sender.stats
        if not is_video:
            return
        replay = self._fanout.replay(self.codec, time.monotonic())
        if replay is not None:
            self._play(replay)
        else:
            self._fanout.request_keyframe(self.codec)

    def load(self, unit: PacketizedUnit) -> Parcel | None:
        """What goes to the viewer of a unit now; raises whatever a closed transport raises."""
        if self.sender is None or self.path is None:
            return None
        if unit.layer != self.layer and not self._changes_to(unit):
            return None
        if self._replay is not None:
            self._replay.push(unit)
            return None
        return self._load(self.sender, self.path, unit)

    def _load(self, sender: ViewerSender, path: PathSender, unit: PacketizedUnit) -> Parcel | None:
        if path.is_full(is_key=unit.is_key):
            sender.skip()
            return None
        heads = sender.send(unit, unit.ntp)
        if heads:
            if self.first_sent_at is None:
                self.first_sent_at = time.monotonic()
            return path.parcel(unit, heads, sender.stats)
        if sender.mode is Mode.WAITING:
            self._want_keyframe()
        return None

    def _want_keyframe(self) -> None:
        if self._fanout.can_request_keyframe(self.codec, self.layer):
            self._fanout.request_keyframe(self.codec, self.layer)
            return
        now = time.monotonic()
        if now >= self._no_replay_before:
            replay = self._fanout.replay(self.codec, now, self.layer)
            if replay is not None:
                self._play(replay)

    def _play(self, replay: Replay) -> None:
        self._stop_replay()
        self._replay, self._no_replay_before = replay, replay.next_at + REPLAY_EVERY_S
        self._go_on()

    def _go_on(self) -> None:
        self._timer = None
        if self._replay is None or self.sender is None or self.path is None:
            return
        replay = self._replay
        for unit in replay.due(time.monotonic(), ntp_now()):
            parcel = self._load(self.sender, self.path, unit)
            if parcel is not None:
                parcel.send_alone()
        if replay.is_done:
            self._replay = None
        else:
            self._timer = asyncio.get_running_loop().call_at(replay.next_at, self._go_on_guarded)

    def _go_on_guarded(self) -> None:
        try:
            self._go_on()
        except Exception as error:  # noqa: BLE001 - a path that is closing raises anything; only this peer ends
            self.fail(error)

    def _stop_replay(self) -> None:
        self._replay = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def switch_layer(self, layer: int) -> None:
        """Go over to another layer with its next key frame; the old one is sent until then.

        Raises: ValueError: the feed has no such layer.
        """
        wanted = self.layer if self._next_layer is None else self._next_layer
        if layer == wanted or self.sender is None:
            return
        self._leave_next()
        self._next_layer, self._leave_next = None, _nothing
        if layer != self.layer:
            self._leave_next = self._fanout.join(self.codec, self, layer)
            self._next_layer = layer
            replay = None
            if not self._fanout.can_request_keyframe(self.codec, layer):
                replay = self._fanout.replay(self.codec, time.monotonic(), layer)
            if replay is not None:
                self._change(layer)
                self._play(replay)
            else:
                self._fanout.request_keyframe(self.codec, layer)

    def _changes_to(self, unit: PacketizedUnit) -> bool:
        if unit.layer != self._next_layer or not unit.is_key:
            return False
        self._change(unit.layer)
        return True

    def _change(self, layer: int) -> None:
        self._stop_replay()
        self.leave()
        self.leave, self._leave_next = self._leave_next, _nothing
        self.layer, self._next_layer = layer, None

    @property
    def mode(self) -> Mode:
        """What the viewer gets; waiting before `start`, gone after `close`."""
        if self.sender is None:
            return Mode.GONE if self._is_closed else Mode.WAITING
        return self.sender.mode

    def set_mode(self, mode: Mode) -> None:
        """Thin, pause or end the stream; `LIVE` and `WAITING` both go on with the next key frame where one is needed.

        `GONE` ends the peer.
        """
        if self.sender is None:
            return
        self.sender.turn(_ORDERS[mode])
        if self.sender.mode is Mode.WAITING:
            self._want_keyframe()
        elif self.sender.mode is Mode.GONE:
            self._on_fail()

    def fail(self, error: Exception) -> None:
        """The path is gone: the peer ends."""
        self._on_fail()

    def receive(self, event: Feedback) -> None:
        """React to feedback about this stream."""
        if self.sender is None or self.path is None:
            return
        reaction = self.sender.receive(event, time.monotonic(), ntp_now())
        if reaction.packets:
            self.path.send_again(reaction.packets)
        if reaction.wants_keyframe and self.mode in (Mode.WAITING, Mode.LIVE):
            self._want_keyframe()  # else it gets nothing by it now: a key frame that is made goes to all others

    def report(self) -> None:
        """Send the periodic sender report, once something was sent."""
        if self.sender is None or self.path is None:
            return
        packet = self.sender.report(time.monotonic(), ntp_now())
        if packet is not None:
            self.path.send_rtcp(packet)

    def close(self) -> None:
        """Leave the fan-out and say goodbye; idempotent, never raises."""
        self._is_closed = True
        self._stop_replay()
        self.leave()
        self._leave_next()
        sender, path = self.sender, self.path
        self.sender = self.path = None
        if sender is None or path is None:
            return
        try:
            path.send_rtcp(sender.goodbye())
        except Exception as error:  # noqa: BLE001 - a path that is gone raises anything; the goodbye is a courtesy
            _log.debug("no goodbye", extra={"error": type(error).__name__})
