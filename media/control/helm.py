"""All viewers of one feed: what they report goes in, what changes comes out. No clock, no codec, no stream.

A viewer has a say in the rate of its layer as long as it is not slow; who is slow gets less, and the others do not
notice. See `rates`, `slow` and `bitrate`.
"""

from collections.abc import Collection, Iterable

import msgspec

from media.control.bitrate import Estimate, Sample
from media.control.ladder import Layer
from media.control.rates import LayerRate
from media.control.slow import SLOW_S, SlowViewer, Step, Verdict
from media.encoders.encoder import Codec

THIN_KEY_S = 2.0
"""How often viewers of key frames only get one."""
FIXED_PART = 0.9
"""Where the source sets the rate, a viewer that carries less than this part of it is slow: it cannot be lowered."""

Line = tuple[Codec, int]


class Viewing(msgspec.Struct, frozen=True):
    """One viewer's stream as it is: the `layer` it gets, and the largest one (`top`) that it may have."""

    key: int
    codec: Codec
    layer: int
    top: int
    sample: Sample


class Orders(msgspec.Struct):
    """What changes: rates of lines, layers and steps of viewers by their key; lines that need a key frame."""

    bitrates: dict[Line, int] = {}
    layers: dict[int, int] = {}
    steps: dict[int, Step] = {}
    keyframes: set[Line] = set()


class HelmStats(msgspec.Struct):
    """Counters of what was ordered."""

    bitrate_changes: int = 0
    layers_down: int = 0
    layers_up: int = 0
    thinned: int = 0
    paused: int = 0
    resumed: int = 0
    let_go: int = 0


class _Viewer:
    def __init__(self, layer: int) -> None:
        self.estimate = Estimate()
        self.slow = SlowViewer(layer)
        self.layer = layer
        self.limited_since: float | None = None

    def follow(self, now: float, viewing: Viewing) -> None:
        if viewing.layer != self.layer:
            self.layer = viewing.layer
            if self.slow.step is Step.LAYER:
                self.slow.layer = viewing.layer  # ordered here, or chosen by the viewer
            self.slow.began(now)
        if self.slow.is_settling(now) or self.slow.step is Step.PAUSED:
            self.estimate.restart()
        self.estimate.add(viewing.sample)
        if self.estimate.capacity_bps is None:
            self.limited_since = None
        elif self.limited_since is None:
            self.limited_since = now

    def is_limited(self, now: float) -> bool:
        return self.limited_since is not None and now - self.limited_since >= SLOW_S


class Helm:
    """Keeps what it knows of each viewer from one plan to the next."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self._layers = layers
        self._fixed: Collection[Codec] = ()
        self._rates: dict[Line, LayerRate] = {}
        self._viewers: dict[int, _Viewer] = {}
        self._keyed_at = float("-inf")
        self.stats = HelmStats()

    def rates(self) -> dict[Line, int]:
        """The rates that lines aim at now, of those that ever had a viewer and whose rate is ours."""
        return {line: rate.bitrate_bps for line, rate in self._rates.items() if not self._is_fixed(line)}

    def capacity(self, key: int) -> float | None:
        """What a viewer's path carries, where it has a limit."""
        viewer = self._viewers.get(key)
        return viewer.estimate.capacity_bps if viewer is not None else None

    def plan(
        self,
        now: float,
        viewings: Iterable[Viewing],
        costly: Collection[Line] = (),
        fixed: Collection[Codec] = (),
    ) -> Orders:
        """Orders of this moment, asked for twice a second.

        On `costly` lines a change of rate makes a key frame; full sizes of `fixed` codecs are encoded by the source.
        """
        orders = Orders()
        self._fixed = fixed
        groups: dict[Line, list[Viewing]] = {}
        known, self._viewers = self._viewers, {}
        for viewing in viewings:
            viewer = self._viewers[viewing.key] = known.get(viewing.key) or _Viewer(viewing.layer)
            viewer.follow(now, viewing)
            groups.setdefault((viewing.codec, viewing.layer), []).append(viewing)
        for line, group in groups.items():
            self._plan_line(now, line, group, orders, line in costly)
        self._begin_low(groups, orders)
        awaited = {
            (viewing.codec, self._viewers[viewing.key].slow.layer) for group in groups.values() for viewing in group
        }
        for line, rate in self._rates.items():
            is_ours = not self._is_fixed(line) and (line in groups or line in awaited)
            if not is_ours and rate.reset():
                orders.bitrates[line] = rate.bitrate_bps
        self._plan_keyframes(now, groups, orders)
        self.stats.bitrate_changes += len(orders.bitrates)
        return orders

    def _plan_line(self, now: float, line: Line, group: list[Viewing], orders: Orders, costs_key: bool) -> None:
        if self._is_fixed(line):
            for viewing in group:
                estimate = self._viewers[viewing.key].estimate
                limit = FIXED_PART * (estimate.sent_bps or 0.0)
                self._judge(now, viewing, orders, drags=(estimate.capacity_bps or limit) < limit)
            return
        rate = self._rate(line)
        served = [self._viewers[viewing.key] for viewing in group]
        served = [viewer for viewer in served if viewer.slow.step is Step.LAYER]
        best = rate.best(viewer.estimate.capacity_bps for viewer in served)
        is_alone = all(viewer.estimate.capacity_bps is not None for viewer in served)
        heard = [
            viewer.estimate.capacity_bps if is_alone or viewer.is_limited(now) else None
            for viewer in served
            if not rate.drags(viewer.estimate.capacity_bps, best)
        ]
        changed = rate.plan(now, heard, costs_key)
        if changed is not None:
            orders.bitrates[line] = changed
        for viewing in group:
            capacity = self._viewers[viewing.key].estimate.capacity_bps
            self._judge(now, viewing, orders, drags=rate.drags(capacity, best))

    def _begin_low(self, groups: dict[Line, list[Viewing]], orders: Orders) -> None:
        codecs = {viewing.key: viewing for group in groups.values() for viewing in group}
        for key, layer in orders.layers.items():
            line = (codecs[key].codec, layer)
            if layer < codecs[key].layer and line not in groups and not self._is_fixed(line):
                orders.bitrates[line] = self._rate(line).begin_low()

    def _is_fixed(self, line: Line) -> bool:
        return line[1] == 0 and line[0] in self._fixed

    def _rate(self, line: Line) -> LayerRate:
        rate = self._rates.get(line)
        if rate is None:
            rate = self._rates[line] = LayerRate(self._layers[line[1]].bitrate_bps)
        return rate

    def _judge(self, now: float, viewing: Viewing, orders: Orders, drags: bool) -> None:
        viewer = self._viewers[viewing.key]
        estimate, slow = viewer.estimate, viewer.slow
        if slow.layer != viewing.layer and not slow.is_overdue(now):
            return  # the layer that was ordered waits for its key frame
        capacity = estimate.capacity_bps
        is_over = estimate.is_congested or (capacity is not None and capacity < (estimate.sent_bps or 0.0))
        step, layer = slow.step, slow.layer
        verdict = Verdict(
            is_slow=is_over and (drags or slow.step is Step.THINNED),
            is_congested=estimate.is_congested,
            can_rise=viewing.layer > 0 and estimate.has_spare(self._layers[viewing.layer - 1].bitrate_bps),
            fitting=self._fitting(viewing.layer, capacity),
            last=len(self._layers) - 1,
            top=min(viewing.top, len(self._layers) - 1),
        )
        if not slow.judge(now, verdict):
            return
        if slow.step is not step:
            self._count_step(slow.step)
            orders.steps[viewing.key] = slow.step
        if slow.layer != layer:
            self.stats.layers_down += slow.layer > layer
            self.stats.layers_up += slow.layer < layer
            orders.layers[viewing.key] = slow.layer

    def _count_step(self, step: Step) -> None:
        self.stats.thinned += step is Step.THINNED
        self.stats.paused += step is Step.PAUSED
        self.stats.resumed += step is Step.LAYER
        self.stats.let_go += step is Step.OUT

    def _fitting(self, layer: int, capacity: float | None) -> int:
        smaller = self._layers[layer + 1 :]
        if capacity is None or not smaller:
            return min(layer + 1, len(self._layers) - 1)
        return next((rung.number for rung in smaller if rung.bitrate_bps <= capacity), smaller[-1].number)

    def _plan_keyframes(self, now: float, groups: dict[Line, list[Viewing]], orders: Orders) -> None:
        if now - self._keyed_at < THIN_KEY_S:
            return
        self._keyed_at = now
        for line, group in groups.items():
            if any(self._viewers[viewing.key].slow.step is Step.THINNED for viewing in group):
                orders.keyframes.add(line)
