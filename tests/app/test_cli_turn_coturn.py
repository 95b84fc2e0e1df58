import json
from pathlib import Path

import pytest

from app import cli
from tests.media.coturn.coturn_double import program


def run(folder: Path, *words: str) -> int:
    return cli.main(["turn", "coturn-config", "--data-dir", str(folder), "--turn-port", "3478", *words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def test_it_is_printed_with_a_mask_in_the_place_of_the_secret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    text = capsys.readouterr().out
    secret = (folder / "turn.secret").read_text().strip()
    assert "static-auth-secret=********\n" in text
    assert secret not in text
    assert "# the secret is not shown: --show-secret" in text
    assert run(folder, "--show-secret") == 0
    shown = capsys.readouterr().out
    assert f"static-auth-secret={secret}\n" in shown
    assert "is not shown" not in shown


def test_it_is_for_the_version_that_is_there_or_any(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = ("--turn-tls-certificate", "/c.pem", "--turn-tls-key", "/k.pem")
    words = ("--json", *pair, "--turn-coturn-program", program(folder, "4.17.1"))
    assert run(folder, *words) == 0
    assert "\ndtls\n" in json.loads(capsys.readouterr().out)["turnserver.conf"]
    assert run(folder, *pair, "--turn-coturn-program", "/nowhere") == 0
    assert "\ndtls\n" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--turn-port", "0"), "TURN_PORT: coturn takes no free port"),
        (("--turn-tls-certificate", "/a b.pem", "--turn-tls-key", "/k.pem"), "cert: no blanks, #"),
    ],
)
def test_what_cannot_be_is_exit_code_2(
    folder: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, *words) == 2
    assert capsys.readouterr().err.startswith(f"heliograph: {sentence}")
