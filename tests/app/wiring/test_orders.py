from pathlib import Path

import msgspec
import pytest

from app.settings import Settings
from app.wiring.orders import MasterOrder, Minted, RecordOrder, TurnOrder


def test_orders_survive_the_way_to_the_child() -> None:
    turn = TurnOrder(Settings(turn_port=1, allow_peer_cidrs=("10.0.0.0/8",)), ("hush",), may_move=True)
    assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnOrder) == turn
    master = MasterOrder(Settings(token="abc.def.ghi"), "demo", "test", persist=True)
    assert msgspec.json.decode(msgspec.json.encode(master), type=MasterOrder) == master


def test_a_record_order_is_absolute_and_has_no_bound_for_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RecordOrder.of("", None, 5) is None
    assert RecordOrder.of("here", None, 0) == RecordOrder(str(tmp_path / "here"))
    assert RecordOrder.of("/there", 60.0, 5) == RecordOrder("/there", 60.0, 5)


def test_secrets_do_not_show() -> None:
    assert "ann" not in repr(Minted("ann", 1.0))
    assert "hush" not in repr(TurnOrder(Settings(), ("hush",)))
    assert "abc.def.ghi" not in repr(MasterOrder(Settings(token="abc.def.ghi"), "demo", "test"))
