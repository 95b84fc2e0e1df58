import pytest

from app.cli_table import print_table


def test_columns_are_as_wide_as_their_widest_and_lines_end_where_the_text_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("A", "Longer"), [{"A": "x", "Longer": ""}, {"A": "wide", "Longer": "y"}])
    assert capsys.readouterr().out == "A     Longer\nx\nwide  y\n"
