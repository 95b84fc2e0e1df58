from pathlib import Path

from app.processes import Child
from app.wiring.orders import Revoked
from app.wiring.turn_names import NameStats, TurnNames
from tests.app.children import script


def test_a_burst_of_names_costs_names_and_not_the_relay(tmp_path: Path) -> None:
    child = Child("turn", script(tmp_path, "time.sleep(60)"))
    try:
        names = TurnNames(child)
        for number in range(10_000):
            names.tell(f"{number}:" + "x" * 240, 1.0)
        assert 3_000 < names.stats.told < 4_000, "1 MiB of them"
        assert names.stats == NameStats(names.stats.told, 10_000 - names.stats.told)
        child.tell(Revoked(channels=("00" * 32,)))
        assert child.is_alive
        assert b"revoked" in child._untold
    finally:
        child.abandon()
