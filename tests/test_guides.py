"""The guides keep their promises: tables of compatibility.md and turn.md are those of the code, commands exist."""

import re
from pathlib import Path
from typing import get_args

import pytest

from app.cli import COMMANDS
from app.metrics import Metrics, Sources
from app.request_counter import RequestStats
from app.settings import BY_NAME, Settings
from app.wiring.turn import relay_settings
from channels import errors
from channels.errors import ServiceError
from channels.quotas import Quotas
from channels.signaling.limits import Limits, Rate
from channels.signaling.stats import HubStats
from media.sources import uri
from media.turn import address
from tests.app.test_openapi import DOCUMENT, OPERATIONS

ROOT = Path(__file__).parent.parent
SERVED = [operation for operation in OPERATIONS if not operation.path.startswith("/_emulator/")]
GUIDES = sorted((ROOT / "infra" / "guides").glob("*.md"))
TURN = (ROOT / "infra" / "guides" / "turn.md").read_text()
MEDIA = (ROOT / "infra" / "guides" / "media.md").read_text()
COMPATIBILITY = (ROOT / "infra" / "guides" / "compatibility.md").read_text()


def rows(name: str, text: str = COMPATIBILITY) -> list[list[str]]:
    """The cells of a marked table, without its head."""
    table = text.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]
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


def test_the_ports_of_turn_are_the_defaults() -> None:
    plain = Settings()
    ports = [(cells[0], cells[1], re.findall(r"`(\w+)`", cells[3])) for cells in rows("ports", TURN)]
    assert ports == [
        (str(plain.turn_port), "UDP", ["turn_port"]),
        (str(plain.turn_port), "TCP", ["turn_port", "turn_tcp"]),
        ("443", "UDP", ["turn_udp_443"]),
        (f"{plain.turn_min_port}-{plain.turn_max_port}", "UDP", ["turn_min_port", "turn_max_port"]),
    ]
    assert (plain.turn_tcp, plain.turn_udp_443) == (True, True)


def test_the_limits_of_turn_are_those_of_the_code() -> None:
    taken = {
        "turn_allocations_per_channel": "allocations_per_channel",
        "turn_allocations_per_source": "allocations_per_source",
        "turn_bitrate_bps": "bitrate_bps",
        "turn_total_bitrate_bps": "total_bitrate_bps",
    }
    few = {"turn_min_port": 50000, "turn_max_port": 50000}  # as many allocations as ports are no limit
    expected = []
    for name, field in taken.items():
        values = [
            getattr(relay_settings(Settings(limits_profile=profile, **few)), field) for profile in ("aws", "relaxed")
        ]
        shown = [str(value) if value > 1 else "none" for value in values]
        expected.append([f"`{name}`", *shown])
    assert [cells[:3] for cells in rows("limits", TURN)] == expected


def test_each_reason_to_refuse_a_peer_stands_in_the_guide() -> None:
    ranges = {entry.name for entry in (*address._IPV4_RANGES, *address._IPV6_RANGES, address._IPV6_RESERVED)}
    text = (ROOT / "media" / "turn" / "policy.py").read_text()
    of_policy = set(re.findall(r"\"((?:own|not-own|port)-[a-z]+|broadcast)\"", text))
    assert {cells[0].strip("`") for cells in rows("peers", TURN)} == ranges | of_policy


def test_ranges_that_may_never_be_reached_are_told_as_such() -> None:
    never = {entry.name for entry in (*address._IPV4_RANGES, *address._IPV6_RANGES) if not entry.is_openable}
    for reason, _, allowed in rows("peers", TURN):
        if reason.strip("`") in never:
            assert allowed == "never", reason


def test_each_metric_of_turn_stands_in_the_guide() -> None:
    text = Metrics(Sources("1", HubStats(), RequestStats())).text().decode()
    families = set(re.findall(r"^# TYPE (heliograph_turn_\w+)", text, re.MULTILINE))
    assert {cells[0].strip("`") for cells in rows("metrics", TURN)} == families


def test_each_source_of_the_guide_is_read_and_has_all_its_options() -> None:
    places = [uri.parse(cells[0].strip("`")) for cells in rows("sources", MEDIA)]
    assert {type(place) for place in places} == set(get_args(uri.Place))
    own = {"path", "url", "device", "display", "left", "top", "words"}
    for place, cells in zip(places, rows("sources", MEDIA), strict=True):
        options = {"region" if name == "size" and "region" in cells[2] else name for name in place.__struct_fields__}
        assert options - own == set(re.findall(r"`([a-z]+)`", cells[2])) - {"tcp", "udp"}, cells[0]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_commands_and_settings_exist(guide: Path) -> None:
    text = guide.read_text()
    names = {command.name for command in COMMANDS}
    for command in re.findall(r"(?:`|\$ |=\$\()heliograph ([a-z-]+)", text):
        assert command in names, command
    for variable in re.findall(r"HELIOGRAPH_([A-Z_]+)", text):
        assert variable.lower() in BY_NAME or variable == "CONFIG", variable
