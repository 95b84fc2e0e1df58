"""The README keeps its promises: short, its settings table is the code's, its commands and links exist."""

import re
from pathlib import Path

import msgspec

from app.settings import FIELDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LINES = 150


def settings_table() -> str:
    """The table as it has to stand between its two marks."""
    rows = ["| Setting | Default | Meaning |", "|---|---|---|"]
    for field in FIELDS:
        default = msgspec.json.encode(field.default).decode() if isinstance(field.default, tuple) else field.default
        shown = "" if default in ("", "[]") else f"`{default}`"
        rows.append(f"| `{field.name}` | {shown} | {field.help} |")
    return "\n".join(rows)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= LINES


def test_settings_table_is_that_of_the_code() -> None:
    written = README.split("<!-- settings -->\n")[1].split("\n<!-- /settings -->")[0]
    assert written == settings_table()


def test_make_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_to_files() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
