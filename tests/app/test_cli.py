import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from app.exits import MEANING

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def heliograph(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "app", *words],
        capture_output=True,
        text=True,
        timeout=50,  # within the limit of a test
        env=ENVIRONMENT | (environment or {}),
        check=False,
    )


@pytest.fixture
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process of its own would find, for a command that runs in this one."""
    monkeypatch.setattr(os, "environ", dict(ENVIRONMENT))


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_help_of_each_command_has_an_example_and_says_where_the_exit_codes_are(
    command: cli.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.build_parser().parse_args([command.name, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert f"example: heliograph {command.name}" in text
    assert "exit codes: heliograph --help" in text


def test_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(f"{code.value:>2}  {words}" in text for code, words in MEANING.items())


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_each_example_is_accepted(command: cli.Command) -> None:
    arguments = cli.build_parser().parse_args(command.example.split()[1:])
    assert arguments.command == command.name


@pytest.mark.parametrize("verb", ["create", "list", "revoke", "session"])
def test_each_verb_of_key_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["key", verb, "--help"])
    text = capsys.readouterr().out
    assert f"example: heliograph key {verb}" in text
    assert "--data-dir" in text


@pytest.mark.parametrize("verb", ["create", "describe", "list", "delete"])
def test_each_verb_of_channel_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["channel", verb, "--help"])
    text = capsys.readouterr().out
    assert f"example: heliograph channel {verb}" in text
    assert re.search(r"\n(Make|Show|Remove) (a|all) channels?\.\n", text)


@pytest.mark.slow
def test_version_is_data_and_quick() -> None:
    best_s = min(_processor_s("version", "--json") for _ in range(3))
    assert best_s < 0.5  # 0.1 s alone; processor time, since other tests share the cores
    answer = heliograph("version", "--json")
    assert json.loads(answer.stdout).keys() == {"version"}


def test_version_is_a_flag_too() -> None:
    answer = heliograph("--version")
    assert (answer.returncode, answer.stdout.strip()) == (
        0,
        json.loads(heliograph("version", "--json").stdout)["version"],
    )


def _processor_s(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert heliograph(*words).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_light_commands_load_nothing_heavy() -> None:
    program = "import sys, app.cli; app.cli.main(['version']); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.split())
    assert not loaded & {"av", "aiortc", "uvicorn", "starlette", "cryptography", "prometheus_client", "websockets"}


@pytest.mark.usefixtures("_no_settings")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["settings", "--turn-min-port", "70000"], "TURN_MIN_PORT: 70000 is over 65535 (from --turn-min-port)"),
        (["settings", "--redis", "redis//:password@a"], "REDIS_URL: '***@a' is not allowed; "),
        (["settings", "--config", "/nowhere.toml"], "CONFIG: /nowhere.toml cannot be read"),
        (["master"], "--channel NAME is missing"),
        (["bench", "nothing"], "no benchmark is called nothing"),
        (["channel", "create", "x", "--tag", "colour"], "--tag colour: a tag is KEY=VALUE"),
        (["channel", "list", "--endpoint", "front-door"], "ENDPOINT: 'front-door' is not allowed"),
        (["token", "--role", "master", "--client-id", "x"], "--client-id binds viewers only"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"heliograph: {sentence}")
    assert said.err.count("\n") == 1


@pytest.mark.usefixtures("_no_settings")
def test_a_flag_is_named_as_the_guides_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings", "--redis", "127.0.0.1"]) == 2
    assert capsys.readouterr().err.endswith("(from --redis)\n")


@pytest.mark.usefixtures("_no_settings")
@pytest.mark.parametrize(
    ("words", "start", "usage"),
    [
        ([], "heliograph: ", "heliograph COMMAND"),
        (["shine"], "heliograph: argument COMMAND: invalid choice: 'shine'", "heliograph COMMAND"),
        (["viewer"], "heliograph viewer: ", "heliograph viewer --channel NAME"),
        (["viewer", "--channel", "x", "--frames", "0"], "heliograph viewer: ", "heliograph viewer --channel NAME"),
        (
            ["serve", "--htp-port", "4"],
            "heliograph serve: unknown: --htp-port 4; did you mean --http-port?",
            "heliograph serve",
        ),
        (["channel", "make"], "heliograph channel: ", "heliograph channel create|describe|list|delete"),
        (["channel", "list", "--all"], "heliograph channel list: unknown: --all", "heliograph channel list"),
    ],
)
def test_wrong_words_are_exit_code_2_and_two_lines(
    words: list[str], start: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    said = capsys.readouterr()
    assert (caught.value.code, said.out) == (2, "")
    first, second = said.err.splitlines()
    assert first.startswith(start)
    assert second.startswith(f"usage: {usage} ")
    assert second.endswith(" --help")


def test_a_ctrl_c_while_code_is_loading_is_no_traceback() -> None:
    program = (
        "import importlib, sys, app.__main__ as entry\n"
        "def interrupted(name): raise KeyboardInterrupt\n"
        "importlib.import_module = interrupted\n"
        "sys.exit(entry.main())"
    )
    answer = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_variable_names_itself_in_the_error() -> None:
    answer = heliograph("settings", environment={"HELIOGRAPH_HTTP_PORT": "web"})
    assert answer.returncode == 2
    assert "HTTP_PORT: web is not an integer (from HELIOGRAPH_HTTP_PORT)" in answer.stderr


def test_a_misspelled_variable_is_told_and_the_command_runs() -> None:
    answer = heliograph("version", environment={"HELIOGRAPH_HTTP_PROT": "1"})
    assert answer.returncode == 0
    assert "did you mean HELIOGRAPH_HTTP_PORT?" in answer.stderr


def test_an_endpoint_that_does_not_answer_is_exit_code_3() -> None:
    answer = heliograph("channel", "list", "--endpoint", "http://127.0.0.1:9", "--token", "x")
    assert answer.returncode == 3
    assert "http://127.0.0.1:9" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -P -m app settings | head -1"
    answer = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert answer.stdout.startswith("SETTING")
    assert answer.stderr == ""


def test_a_folder_named_app_where_we_stand_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('wrong app')")
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "app", "version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0
