"""Keeps slow viewers from dragging the others: hands what viewers report to the helm, and does what it orders."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from media.control.bitrate import Sample
from media.control.helm import Helm, HelmStats, Orders, Viewing
from media.control.ladder import Layer
from media.control.slow import Step
from media.encoders.encoder import Codec
from media.peer.stream import OutgoingStream
from media.rtp.viewer import Mode

_log = logging.getLogger(__name__)

TICK_S = 0.5
_MODES = {Step.LAYER: Mode.LIVE, Step.THINNED: Mode.THINNED, Step.PAUSED: Mode.PAUSED, Step.OUT: Mode.GONE}


class Feed(Protocol):
    """The part of `media/feed.py` that is steered."""

    layers: tuple[Layer, ...]

    @property
    def fixed(self) -> frozenset[Codec]:
        """Codecs whose full size passes at the rate of the source."""

    def set_bitrate(self, codec: Codec, bitrate_bps: int, layer: int = 0) -> None:
        """Change the rate of a running encoder."""

    def request_keyframe(self, codec: Codec, layer: int = 0) -> None:
        """Ask for a key frame soon."""

    def costs_key(self, codec: Codec, layer: int = 0) -> bool:
        """Whether a change of the rate costs a key frame."""


class Steering:
    """Steers the video streams that `streams` gives at each `tick`; those without a path yet are left alone."""

    def __init__(
        self, feed: Feed, streams: Callable[[], Iterable[OutgoingStream]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._feed = feed
        self._streams = streams
        self._clock = clock
        self._helm = Helm(feed.layers)
        self._keys: WeakKeyDictionary[OutgoingStream, int] = WeakKeyDictionary()
        self._next_key = itertools.count()

    @property
    def stats(self) -> HelmStats:
        """Counters of what was ordered."""
        return self._helm.stats

    @property
    def target_bps(self) -> dict[str, int]:
        """The rate that each line with viewers aims at, by its name, as "H264/0"."""
        return {f"{codec.value}/{layer}": rate for (codec, layer), rate in self._helm.rates().items()}

    def capacity_bps(self, stream: OutgoingStream) -> float | None:
        """What a viewer's path carries, where it shows a limit."""
        return self._helm.capacity(self._keys.get(stream, -1))

    def tick(self) -> None:
        """Look at all streams and do what follows; call it every `TICK_S`."""
        now = self._clock()
        streams: dict[int, OutgoingStream] = {}
        viewings = []
        for stream in self._streams():
            sample = self._sample(now, stream)
            if sample is not None:
                key = self._key(stream)
                streams[key] = stream
                viewings.append(Viewing(key, stream.codec, stream.layer, stream.wanted_layer or 0, sample))
        lines = {(viewing.codec, viewing.layer) for viewing in viewings}
        costly = {line for line in lines if self._feed.costs_key(*line)}
        self._perform(self._helm.plan(now, viewings, costly, self._feed.fixed), streams)

    def _key(self, stream: OutgoingStream) -> int:
        key = self._keys.get(stream)
        if key is None:
            key = self._keys[stream] = next(self._next_key)
        return key

    def _sample(self, now: float, stream: OutgoingStream) -> Sample | None:
        if stream.sender is None or not stream.codec.is_video:
            return None
        stats = stream.sender.stats
        return Sample(
            now=now,
            sent_bytes=stats.payload_bytes,
            sent_packets=stats.packets,
            lost_packets=stats.packets_lost,
            skipped_units=stats.units_skipped,
            rtt_s=stats.rtt_s,
            remb_bps=stats.remb_bps,  # of video alone: sound has no send times, from which viewers estimate
        )

    def _perform(self, orders: Orders, streams: dict[int, OutgoingStream]) -> None:
        for (codec, layer), bitrate_bps in orders.bitrates.items():
            self._feed.set_bitrate(codec, bitrate_bps, layer)
            _log.debug("bitrate changed", extra={"codec": codec.value, "layer": layer, "bitrate_bps": bitrate_bps})
        for key, layer in orders.layers.items():
            _log.info("viewer changes layer", extra={"layer": layer})
            self._order(streams[key], partial(streams[key].switch_layer, layer))
        for key, step in orders.steps.items():
            _log.info("viewer is slow" if step is not Step.LAYER else "viewer goes on", extra={"gets": step.value})
            self._order(streams[key], partial(streams[key].set_mode, _MODES[step]))
        for codec, layer in orders.keyframes:
            self._feed.request_keyframe(codec, layer)

    def _order(self, stream: OutgoingStream, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 - a path that is closing raises anything; only this peer ends
            stream.fail(error)
