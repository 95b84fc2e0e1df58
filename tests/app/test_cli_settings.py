import argparse
import json
from pathlib import Path

import pytest

from app import cli_settings
from app.setting import HIDDEN
from app.settings import FIELDS, load


def shown(capsys: pytest.CaptureFixture[str], *, is_json: bool) -> str:
    loaded = load({"http_port": "1", "token": "abc.def.ghi"}, {"HELIOGRAPH_REGION": "eu-west-1"})
    assert cli_settings.run(argparse.Namespace(json=is_json), loaded) == 0
    return capsys.readouterr().out


def test_the_table_has_every_setting_its_value_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, is_json=False).splitlines()
    assert [line.split()[0] for line in lines] == ["SETTING", *(field.key for field in FIELDS)]
    rows = {line.split()[0]: line.split()[1:3] for line in lines}
    assert rows["HTTP_PORT"] == ["1", "flag"]
    assert rows["REGION"] == ["eu-west-1", "environment"]
    assert rows["OPS_PORT"] == ["9090", "default"]


def test_a_file_is_named_as_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "h.toml"
    file.write_text("http_port = 7")
    cli_settings.run(argparse.Namespace(json=False), load({}, {}, str(file)))
    assert f" file {file} " in capsys.readouterr().out


def test_json_has_every_setting_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    table = json.loads(shown(capsys, is_json=True))
    assert list(table) == [field.name for field in FIELDS]
    assert table["http_port"]["value"] == 1
    assert table["http_port"]["from"] == "flag"
    assert table["http_port"]["variable"] == "HELIOGRAPH_HTTP_PORT"


@pytest.mark.parametrize("is_json", [True, False])
def test_the_token_is_masked(capsys: pytest.CaptureFixture[str], is_json: bool) -> None:
    text = shown(capsys, is_json=is_json)
    assert "abc.def.ghi" not in text
    assert HIDDEN in text
