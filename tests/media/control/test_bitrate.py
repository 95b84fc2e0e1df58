"""What a viewer's reports say about its path, and what they do not say."""

import pytest

from media.control.bitrate import LOWER, OVERHEAD, STEADY_S, Estimate, Sample

TICK_S = 0.5


class Path:
    """Feeds an estimate with ticks of half a second."""

    def __init__(self) -> None:
        self.estimate = Estimate()
        self.now = 100.0
        self._bytes = self._packets = self._lost = self._skipped = 0

    def run(
        self,
        seconds: float,
        sent_bps: int = 2_000_000,
        *,
        loss: float = 0.0,
        rtt_s: float | None = None,
        remb: int | None = None,
        skipped: int = 0,
    ) -> Estimate:
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            packets = max(sent_bps // 9600, 10)
            self._bytes += round(sent_bps * TICK_S / 8)
            self._packets += packets
            self._lost += round(packets * loss)
            self._skipped += skipped
            self.estimate.add(
                Sample(self.now, self._bytes, self._packets, self._lost, self._skipped, rtt_s=rtt_s, remb_bps=remb)
            )
        return self.estimate


def test_nothing_is_said_before_there_is_a_second_to_judge() -> None:
    estimate = Path().run(0.5, remb=100_000, loss=0.9)
    assert (estimate.sent_bps, estimate.capacity_bps, estimate.is_congested) == (None, None, False)


def test_what_is_sent_is_measured_over_two_seconds() -> None:
    path = Path()
    path.run(10, 1_000_000)
    assert path.run(2, 2_000_000).sent_bps == pytest.approx(2_000_000)


@pytest.mark.parametrize("remb", [300_000, 1_000_000, 1_600_000, None])
def test_low_remb_on_a_free_path_is_only_a_beginning(remb: int | None) -> None:
    assert Path().run(4, remb=remb, rtt_s=0.05).capacity_bps is None


@pytest.mark.parametrize(("loss", "rtt_s"), [(0.2, 0.05), (0.0, 0.4)])
def test_remb_of_a_full_path_is_its_limit(loss: float, rtt_s: float) -> None:
    path = Path()
    path.run(2, rtt_s=0.05)
    estimate = path.run(2, remb=500_000, loss=loss, rtt_s=rtt_s)
    assert estimate.is_congested
    assert estimate.capacity_bps == 500_000 * OVERHEAD


def test_loss_by_chance_is_no_limit_when_the_remb_is_high() -> None:
    assert Path().run(4, remb=4_000_000, loss=0.12).capacity_bps is None


def test_heavy_loss_says_what_gets_through_whatever_the_remb_is() -> None:
    estimate = Path().run(4, remb=4_000_000, loss=0.8)
    assert estimate.capacity_bps == pytest.approx(400_000, rel=0.05)


def test_low_remb_that_never_rises_is_meant() -> None:
    path = Path()
    assert path.run(STEADY_S, remb=500_000).capacity_bps is None
    assert path.run(1, remb=500_000).capacity_bps == 500_000 * OVERHEAD
    assert path.run(1, remb=600_000).capacity_bps is None


def test_viewer_without_remb_is_lowered_by_loss_and_raised_without() -> None:
    path = Path()
    path.run(2)
    first = path.run(3, loss=0.12).capacity_bps
    assert first is not None
    assert first <= 2_000_000 * LOWER
    second = path.run(2, loss=0.12).capacity_bps
    assert second is not None
    assert second < first
    held = path.run(4, round(second), loss=0.05).capacity_bps
    assert held == pytest.approx(second, rel=0.2)
    assert path.run(12, round(second)).capacity_bps is None, "more than is sent: no limit"


def test_queue_alone_is_no_limit_for_a_viewer_without_remb() -> None:
    path = Path()
    path.run(2, rtt_s=0.02)
    estimate = path.run(3, rtt_s=0.5)
    assert estimate.is_congested
    assert estimate.capacity_bps is None


def test_units_that_found_no_room_are_a_limit() -> None:
    path = Path()
    path.run(2)
    estimate = path.run(2, 600_000, skipped=1)
    assert estimate.is_congested
    assert estimate.capacity_bps == pytest.approx(600_000, rel=0.1)


@pytest.mark.parametrize(
    ("remb", "loss", "has_spare"),
    [(230_000, 0.0, True), (170_000, 0.0, False), (None, 0.0, True), (None, 0.05, False), (230_000, 0.2, False)],
)
def test_more_is_tried_where_nothing_speaks_against_it(remb: int | None, loss: float, has_spare: bool) -> None:
    assert Path().run(4, 150_000, remb=remb, loss=loss).has_spare(600_000) is has_spare


def test_restart_forgets() -> None:
    path = Path()
    path.run(4, loss=0.5)
    path.estimate.restart()
    assert (path.estimate.capacity_bps, path.estimate.is_congested, path.estimate.loss) == (None, False, 0.0)
    assert not path.estimate.has_spare(1)


def test_counters_that_go_back_do_no_harm() -> None:
    estimate = Estimate()
    for number in range(8):
        estimate.add(Sample(number / 2, 1000 - number, 100, -50 * number, 0, rtt_s=0.0, remb_bps=0))
    assert estimate.sent_bps == 0
    assert estimate.loss == 0
