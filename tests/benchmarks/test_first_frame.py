"""What `bench first-frame` makes of its joins, those without a picture too."""

import pytest

from app.exits import CommandError
from tests.benchmarks import first_frame
from tests.benchmarks.first_frame import Join, Joins, Run

DONE = [Join(answer=20.0, connected=50.0, frame=frame, open_to_frame=300.0) for frame in (100.0, 120.0, 90.0)]
LOST = "recovering media-stopped"


def run(silent: Joins) -> Run:
    return Run(alone=Joins(DONE, 200.0), watched=Joins(DONE), silent=silent, stock=Joins(DONE), viewer=(70.0,))


def test_each_kind_gives_median_and_95th_percentile_beside_the_yardstick() -> None:
    rows = {row.name: row for row in first_frame.rows([run(Joins(DONE))])}
    assert [rows[f"offer_to_first_frame_{share}_silent_stun"].ours for share in ("p50", "p95")] == [100.0, 120.0]
    alone = rows["offer_to_first_frame_p50"]
    assert alone.ratio is not None
    assert (alone.peer, alone.ratio.median, alone.is_met) == (100.0, 1.0, None)
    assert rows["offer_to_first_frame_p50_fresh_browser"].ours == 200.0


def test_a_join_without_a_picture_is_counted_with_its_reason_and_misses_the_goal() -> None:
    rows = {row.name: row for row in first_frame.rows([run(Joins(DONE, failures=[LOST, LOST]))])}
    row = rows["offer_to_first_frame_p95_silent_stun"]
    assert row.note.endswith(f"(2 of 5 joins failed: 2 x {LOST})")
    assert row.is_met is False
    assert rows["offer_to_first_frame_p95"].is_met is None


def test_no_picture_at_all_ends_with_a_sentence() -> None:
    with pytest.raises(CommandError, match=f"no viewer got a picture .1 of 1 joins failed: 1 x {LOST}"):
        first_frame.rows([run(Joins(failures=[LOST]))])
