"""The guides keep their promises: the tables of compatibility.md are those of the code, links and commands exist."""

import re
from pathlib import Path

import pytest

from app.cli import COMMANDS
from app.settings import BY_NAME
from channels import errors
from channels.errors import ServiceError
from channels.quotas import Quotas
from channels.signaling.limits import Limits, Rate
from tests.app.test_openapi import DOCUMENT, OPERATIONS

ROOT = Path(__file__).parent.parent
SERVED = [operation for operation in OPERATIONS if not operation.path.startswith("/_emulator/")]
GUIDES = sorted((ROOT / "infra" / "guides").glob("*.md"))
COMPATIBILITY = (ROOT / "infra" / "guides" / "compatibility.md").read_text()


def rows(name: str) -> list[list[str]]:
    """The cells of a marked table, without its head."""
    table = COMPATIBILITY.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def rate(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def test_each_operation_stands_with_its_path_rates_and_errors() -> None:
    quotas = Quotas.aws().rates
    expected = []
    for operation in SERVED:
        rates = quotas.get(operation.name)
        special = DOCUMENT["paths"][operation.path]["post"]["x-errors"]
        expected.append(
            [
                operation.name,
                f"`{operation.path}`",
                rate(rates.account if rates else None),
                rate(rates.channel if rates else None),
                ", ".join(error.removesuffix("Exception") for error in special),
            ]
        )
    assert [row[:5] for row in rows("operations")] == expected


def test_each_operation_says_what_is_different() -> None:
    for row in rows("operations"):
        assert len(row) == 6, row
        assert row[5], f"{row[0]} says nothing"


def test_each_error_stands_with_its_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]
    expected = [[kind.__name__, str(kind.status)] for kind in kinds if kind is not ServiceError]
    assert [row[:2] for row in rows("errors")] == expected


def test_each_limit_stands_with_its_value_in_both_profiles() -> None:
    def shown(value: object) -> str:
        if isinstance(value, Rate):
            return f"{value.per_s:g}/s, {value.burst:g} at once"
        return "none" if value is None else f"{value:g}"

    aws, relaxed = Limits.aws(), Limits.relaxed()
    expected = [
        [f"`{name}`", shown(getattr(aws, name)), shown(getattr(relaxed, name))] for name in aws.__struct_fields__
    ]
    assert [row[:3] for row in rows("limits")] == expected


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_commands_and_settings_exist(guide: Path) -> None:
    text = guide.read_text()
    names = {command.name for command in COMMANDS}
    for command in re.findall(r"(?:`|\$ |=\$\()heliograph ([a-z-]+)", text):
        assert command in names, command
    for variable in re.findall(r"HELIOGRAPH_([A-Z_]+)", text):
        assert variable.lower() in BY_NAME or variable == "CONFIG", variable
