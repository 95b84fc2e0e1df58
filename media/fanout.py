"""One encode, N viewers: each access unit is packetized once and handed to every viewer of its codec.

It knows codecs and recipients; what a recipient does with a unit, and its death, are its own business.
"""

import logging
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from media.control.gop import LONG, YOUNG, GopCache, Replay
from media.encoders.encoder import AccessUnit
from media.feed import Codec
from media.rtp import packetize
from media.rtp.clock import ntp_now
from media.rtp.packetize import Packetize, PacketizedUnit
from media.stages import ALL_BYTES, Failures, Parcel, ship

_log = logging.getLogger(__name__)

Detach = Callable[[], None]


class Feed(Protocol):
    """The part of `media/feed.py` that a fan-out needs."""

    def attach(self, codec: Codec, sink: Callable[[AccessUnit], None], layer: int = 0) -> Detach:
        """Call `sink` on the event loop for each access unit of the layer until the answer is called."""

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        """Ask for a key frame soon; many requests become one."""

    def can_request_keyframe(self, codec: Codec, layer: int = 0) -> bool:
        """Whether a key frame comes when it is asked for."""


class Recipient(Protocol):
    """One stream of one viewer; called on the event loop, must not block."""

    def load(self, unit: PacketizedUnit) -> Parcel | None:
        """What is to be sent of the unit; None where it is left out."""

    def fail(self, error: Exception) -> None:
        """The delivery raised `error`: the recipient was taken out of the fan-out and must end itself."""


class FanOutStats(msgspec.Struct):
    """Counters of a fan-out; `failed` counts recipients that were taken out because their delivery raised."""

    units: int = 0
    payloads: int = 0
    deliveries: int = 0
    failed: int = 0


def _packetizer(codec: Codec) -> Packetize:
    match codec:
        case Codec.H264:
            return packetize.h264
        case Codec.VP8:
            return packetize.Vp8(secrets.randbelow(1 << 15))
        case Codec.OPUS:
            return packetize.opus


class _Branch:
    """All recipients of one codec and layer; attached to the feed while there is at least one."""

    def __init__(self, codec: Codec, layer: int, feed: Feed, stats: FanOutStats) -> None:
        self.cache = GopCache(YOUNG)
        self._feed = feed
        self._codec = codec
        self._layer = layer
        self._packetize = _packetizer(codec)
        self._stats = stats
        self.recipients: dict[int, Recipient] = {}
        self.detach: Detach | None = None

    def deliver(self, unit: AccessUnit) -> None:
        payloads = self._packetize(unit.data)
        if not payloads:
            return
        packetized = PacketizedUnit(
            payloads=payloads,
            timestamp=unit.timestamp,
            is_key=unit.is_key,
            captured_at=unit.captured_at,
            size=sum(map(len, payloads)),
            audio_level=unit.audio_level,
            layer=self._layer,
            packetized_at=time.monotonic(),
            ntp=ntp_now(),
            runs=packetize.runs(payloads),
        )
        if self._codec.is_video:
            if unit.is_key:  # where a source begins to pass its pictures, or ends to, there is one
                self.cache.span = YOUNG if self._feed.can_request_keyframe(self._codec, self._layer) else LONG
            self.cache.keep(packetized)
        self._stats.units += 1
        self._stats.payloads += len(payloads)
        self._hand_out(packetized)

    def _hand_out(self, unit: PacketizedUnit) -> None:
        failures: Failures = {}
        parcels: dict[int, Parcel] = {}
        recipients = tuple(self.recipients.items())
        for key, recipient in recipients:
            try:
                parcel = recipient.load(unit)
            except Exception as error:  # noqa: BLE001 - whatever a dying viewer raises, the others get their picture
                failures[key] = error
            else:
                if parcel is not None:
                    parcels[key] = parcel
        failures |= ship(unit.runs, parcels)
        self._stats.deliveries += len(recipients) - len(failures)
        for key, recipient in recipients if failures else ():
            if key in failures:
                self._fail(key, recipient, failures[key])

    def _fail(self, key: int, recipient: Recipient, error: Exception) -> None:
        self.recipients.pop(key, None)
        self._stats.failed += 1
        _log.info("viewer stream failed", extra={"codec": self._codec.value, "error": type(error).__name__})
        try:
            recipient.fail(error)
        except Exception:  # noqa: BLE001 - its end is its own business too
            _log.exception("viewer stream did not end cleanly")


class FanOut:
    """Hands the access units of one feed to any number of recipients per codec and layer.

    `room` is one buffer for the paths of all its viewers, who are served together; see `media/stages.py`.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._branches: dict[tuple[Codec, int], _Branch] = {}
        self._next_key = 0
        self.room = bytearray(ALL_BYTES)
        self.stats = FanOutStats()

    def join(self, codec: Codec, recipient: Recipient, layer: int = 0) -> Detach:
        """Add a recipient; the answer takes it out again, as often as it is called.

        Raises: ValueError: the feed has no such sound or layer.
        """
        branch = self._branches.get((codec, layer))
        if branch is None:
            branch = _Branch(codec, layer, self._feed, self.stats)
        if branch.detach is None:
            branch.detach = self._feed.attach(codec, branch.deliver, layer)
        self._branches[codec, layer] = branch
        key = self._next_key
        self._next_key += 1
        branch.recipients[key] = recipient

        def leave() -> None:
            branch.recipients.pop(key, None)
            if not branch.recipients and branch.detach is not None:
                detach, branch.detach = branch.detach, None
                branch.cache.clear()
                detach()

        return leave

    def replay(self, codec: Codec, now: float, layer: int = 0) -> Replay | None:
        """The last key frame and all since, for who joins at `now`; None when it is too old; see `control/gop.py`."""
        branch = self._branches.get((codec, layer))
        units = branch.cache.since_key(now) if branch else ()
        return Replay(units, codec.clock_hz, now) if units else None

    def can_request_keyframe(self, codec: Codec, layer: int = 0) -> bool:
        """Whether `request_keyframe` has an effect; else a replay is the way to a picture before the next key frame."""
        return self._feed.can_request_keyframe(codec, layer)

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        """Pass a viewer's wish on to the encoder."""
        self._feed.request_keyframe(codec, layer)

    def count(self, codec: Codec, layer: int = 0) -> int:
        """How many recipients the codec and layer have."""
        branch = self._branches.get((codec, layer))
        return len(branch.recipients) if branch else 0
