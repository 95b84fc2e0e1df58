"""The README and the guides keep their promises: short, the settings table is the code's, commands and links exist."""

import re
from pathlib import Path

from app.setting import text_of
from app.settings import FIELDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDES = ROOT / "infra" / "guides"
LINES = 150


def settings_table() -> str:
    """The table as it has to stand between its two marks."""
    rows = ["| Setting | Default | Meaning |", "|---|---|---|"]
    for field in FIELDS:
        default = text_of(field.default)
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{field.name}` | {shown} | {field.help} |")
    return "\n".join(rows)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= LINES


def test_settings_table_is_that_of_the_code() -> None:
    written = (GUIDES / "settings.md").read_text().split("<!-- settings -->\n")[1].split("\n<!-- /settings -->")[0]
    assert written == settings_table()


def test_make_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_to_files() -> None:
    for page in (ROOT / "README.md", *GUIDES.glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)
