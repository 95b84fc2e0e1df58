"""All viewers of a feed together: who is slow gets less, and nobody else notices."""

import msgspec
import pytest

from media.control.bitrate import Sample
from media.control.helm import Helm, Orders, Viewing
from media.control.ladder import rungs
from media.control.slow import Step
from media.encoders.encoder import Codec, Shape

LAYERS = rungs(Shape(1280, 720, 30), 2_000_000)
TICK_S = 0.5
H264 = (Codec.H264, 0)


class Link:
    """One viewer behind a path of `link_bps`; with `sends_remb` it reports as a browser does, else by loss alone."""

    def __init__(self, key: int, link_bps: float = 1e9, sends_remb: bool = True, top: int = 0) -> None:
        self.key, self.link_bps, self.sends_remb, self.top = key, link_bps, sends_remb, top
        self.layer = 0
        self.step = Step.LAYER
        self._sample = Sample(0.0, 0, 0, 0, 0)

    def viewing(self, now: float, rate_bps: int) -> Viewing:
        sent = {Step.LAYER: rate_bps, Step.THINNED: rate_bps // 10}.get(self.step, 0)
        loss = max(0.0, 1 - self.link_bps / sent) if sent else 0.0
        old, packets = self._sample, 100
        self._sample = Sample(
            now=now,
            sent_bytes=old.sent_bytes + round(sent * TICK_S / 8),
            sent_packets=old.sent_packets + packets,
            lost_packets=old.lost_packets + round(packets * loss),
            skipped_units=0,
            rtt_s=0.02,
            remb_bps=round(min(0.9 * self.link_bps, 1.5 * max(sent, 1))) if self.sends_remb else None,
        )
        return Viewing(self.key, Codec.H264, self.layer, self.top, self._sample)


class World:
    """A helm, its viewers and its encoders; orders come into force with the next tick."""

    def __init__(self, *links: Link, fixed: frozenset[Codec] = frozenset(), layers: int = 3) -> None:
        self.helm = Helm(LAYERS[:layers])
        self.fixed = fixed
        self.links = {link.key: link for link in links}
        self.rates = {layer.number: layer.bitrate_bps for layer in LAYERS}
        self.now = 100.0
        self.full_rates: set[int] = set()
        self.keyframes = 0

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            viewings = [link.viewing(self.now, self.rates[link.layer]) for link in self.links.values()]
            self.perform(self.helm.plan(self.now, viewings, fixed=self.fixed))
            self.full_rates.add(self.rates[0])

    def perform(self, orders: Orders) -> None:
        for (_, layer), bitrate_bps in orders.bitrates.items():
            self.rates[layer] = bitrate_bps
        for key, layer in orders.layers.items():
            self.links[key].layer = layer
        for key, step in orders.steps.items():
            self.links[key].step = step
            if step is Step.OUT:
                del self.links[key]
        self.keyframes += len(orders.keyframes)


@pytest.mark.parametrize("sends_remb", [True, False])
def test_one_narrow_viewer_goes_down_and_the_rate_of_the_others_never_changes(sends_remb: bool) -> None:
    narrow = Link(0, 300_000, sends_remb)
    world = World(narrow, *(Link(number) for number in range(1, 6)))
    world.run(6)
    assert narrow.layer == 2
    world.run(120)
    assert narrow.step is Step.LAYER
    assert world.full_rates == {2_000_000}
    assert {link.layer for link in world.links.values() if link is not narrow} == {0}
    assert world.helm.stats.layers_up <= 5, "it is not tried again and again"


def test_narrow_viewer_comes_back_when_its_path_is_wide_again() -> None:
    narrow = Link(0, 300_000)
    world = World(narrow, Link(1))
    world.run(10)
    assert narrow.layer == 2
    narrow.link_bps = 1e9
    world.run(80)
    assert narrow.layer == 0
    assert world.full_rates == {2_000_000}


def test_viewer_a_little_narrower_than_the_others_has_a_say() -> None:
    world = World(Link(0, 1_700_000), Link(1))
    world.run(30)
    assert {link.layer for link in world.links.values()} == {0}
    assert 1_400_000 <= min(world.full_rates) < 1_700_000


def test_lone_viewer_gets_the_full_size_at_a_lower_rate() -> None:
    lone = Link(0, 1_300_000)
    world = World(lone)
    world.run(30)
    assert lone.layer == 0
    assert 1_000_000 <= world.rates[0] <= 1_400_000


def test_lone_viewer_under_the_least_rate_gets_a_smaller_layer() -> None:
    lone = Link(0, 800_000)
    world = World(lone)
    world.run(12)
    assert lone.layer == 1
    assert world.rates[0] == 2_000_000, "nobody holds it down any more"


def test_where_nothing_smaller_is_left_key_frames_come_and_then_the_door() -> None:
    hopeless = Link(0, 2_000)
    world = World(hopeless, Link(1))
    world.run(120)
    assert hopeless.key not in world.links
    assert world.helm.stats.let_go == 1
    assert world.helm.stats.paused == world.helm.stats.thinned - 1 == 3
    assert world.keyframes > 3
    assert world.full_rates == {2_000_000}


def test_source_that_sets_the_rate_itself_loses_who_cannot_follow() -> None:
    narrow = Link(0, 1_500_000)
    world = World(narrow, Link(1), fixed=frozenset({Codec.H264}))
    world.run(10)
    assert narrow.layer == 1
    assert H264 not in world.helm.rates(), "there is no rate to set"


def test_source_that_begins_to_set_the_rate_itself_is_left_to_it() -> None:
    lone = Link(0, 1_300_000)
    world = World(lone)
    world.run(30)
    assert world.rates[0] < 1_400_000
    world.fixed = frozenset({Codec.H264})
    world.run(0.5)
    assert H264 not in world.helm.rates()
    assert world.rates[0] == 2_000_000, "an encoder that comes later begins anew"
    world.run(10)
    assert (lone.layer, world.rates[0]) == (1, 2_000_000), "it goes, as the rate cannot"


def test_single_layer_leaves_thinning() -> None:
    narrow = Link(0, 300_000)
    world = World(narrow, Link(1), layers=1)
    world.run(4)
    assert narrow.step is Step.THINNED


def test_viewer_that_chose_a_layer_gets_no_larger_one() -> None:
    viewer = Link(0, top=1)
    world = World(viewer)
    world.run(60)
    assert viewer.layer == 1


def test_larger_layer_begins_with_its_least_rate() -> None:
    narrow = Link(0, 300_000)
    world = World(narrow, Link(1))
    world.run(6)
    narrow.link_bps = 1e9
    while narrow.layer == 2:
        world.run(TICK_S)
    assert world.rates[1] == LAYERS[1].bitrate_bps // 2
    world.run(10)
    assert world.rates[1] == LAYERS[1].bitrate_bps


def test_what_a_path_carries_is_told() -> None:
    world = World(Link(0, 300_000))
    world.run(3)
    capacity = world.helm.capacity(0)
    assert capacity is not None
    assert capacity == pytest.approx(270_000, rel=0.1)
    assert world.helm.capacity(1) is None


def test_order_that_waits_for_its_key_frame_is_not_given_twice() -> None:
    world = World(narrow := Link(0, 300_000), Link(1))
    orders = 0
    for _ in range(16):
        world.now += TICK_S
        viewings = [link.viewing(world.now, 2_000_000) for link in world.links.values()]
        orders += len(world.helm.plan(world.now, viewings).layers)
    assert orders == 1
    assert narrow.layer == 0
    assert msgspec.structs.asdict(world.helm.stats)["layers_down"] == 1
