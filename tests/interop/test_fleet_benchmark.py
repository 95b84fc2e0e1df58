"""`heliograph bench fleet` in small: all cameras come back after a kill, and whatever fails a client would retry."""

import pytest

from app.bench import Row
from tests.benchmarks import fleet
from tests.programs import require

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_a_fleet_is_back_after_one_of_two_nodes_was_killed() -> None:
    require("cc")
    rows = await run(nodes=2, duty_s=4, pace=20.0)
    assert 20 <= rows["owed"].ours <= 80
    assert rows["retried_refused"].ours > 0
    assert rows["visits"].ours > 5
    assert rows["messages"].ours > 3 * rows["visits"].ours  # eight each, but for those who are on their way at the end


async def test_idle_cameras_are_back_after_their_only_node_was_killed_and_started_again() -> None:
    require("cc")
    rows = await run(scenario="idle-restart")
    assert rows["owed"].ours == 100
    assert "visits" not in rows


async def run(**options: object) -> dict[str, Row]:
    said: list[str] = []
    found = await fleet.run(1, said.append, cameras=100, settle_s=0.2, **options)
    rows = {row.name: row for row in found}
    assert said[1] == "100 cameras are open"
    assert 0 < rows["back_all"].ours < 60
    assert 0 < rows["memory_per_camera"].ours < 200
    assert [row for row in found if row.goal == "0" and row.ours] == []
    return rows
