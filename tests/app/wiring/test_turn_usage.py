from app.wiring import turn_usage
from app.wiring.turn_usage import UsageReports


def test_only_what_changed_is_told() -> None:
    reports = UsageReports()
    assert reports.changes({"a": (1, 10, 20), "b": (0, 1, 1)}) == {"a": (1, 10, 20), "b": (0, 1, 1)}
    reports.told({"a": (1, 10, 20), "b": (0, 1, 1)})
    assert reports.changes({"a": (1, 10, 20), "b": (0, 1, 1)}) == {}
    assert reports.changes({"a": (1, 11, 20), "b": (0, 1, 1)}) == {"a": (1, 11, 20)}
    assert reports.changes({"a": (1, 11, 20), "b": (0, 1, 1)}) == {"a": (1, 11, 20)}, "it has not arrived"


def test_a_report_is_bounded_and_every_channel_has_its_turn() -> None:
    reports, told = UsageReports(), set()
    for second in range(3):
        changes = reports.changes({str(number): (1, second, 0) for number in range(3 * turn_usage.MOST)})
        assert len(changes) == turn_usage.MOST
        told |= set(changes)
        reports.told(changes)
    assert len(told) == 3 * turn_usage.MOST
    again = reports.changes({str(number): (1, 9, 0) for number in range(3 * turn_usage.MOST)})
    assert set(again) == {str(number) for number in range(turn_usage.MOST)}, "those told longest ago come first"


def test_what_was_told_is_forgotten_one_day() -> None:
    known: dict[str, turn_usage.Totals] = {}
    for number in range(turn_usage.REMEMBERED + 1):
        turn_usage.remember(known, str(number), (0, 0, 0))
    assert len(known) == turn_usage.REMEMBERED
    assert "0" not in known
