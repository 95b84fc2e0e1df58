"""`heliograph settings`: every setting with its value and where it came from."""

import argparse
import json

from app.exits import Exit
from app.setting import Field, text_of
from app.settings import FIELDS, Loaded, Origin


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Print a table, or with --json one object by setting name; secrets are masked."""
    shown = {field.name: field.shown(getattr(loaded.settings, field.name)) for field in FIELDS}
    if arguments.json:
        print(json.dumps({field.name: _row(field, shown[field.name], loaded) for field in FIELDS}))
        return Exit.OK
    rows = [("SETTING", "VALUE", "FROM", "HELP")]
    rows += [(field.key, text_of(shown[field.name]), _origin(field, loaded), field.help) for field in FIELDS]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])))
    return Exit.OK


def _row(field: Field, value: object, loaded: Loaded) -> dict[str, object]:
    return {
        "value": value,
        "from": _origin(field, loaded),
        "type": field.kind,
        "default": field.default,
        "variable": field.variable,
        "help": field.help,
    }


def _origin(field: Field, loaded: Loaded) -> str:
    origin = loaded.origins[field.name]
    return f"{origin.value} {loaded.file}" if origin is Origin.FILE else origin.value
