import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app import cli
from app.certificates import make_development_files
from app.cli_turn_check import _lines, describe
from app.tls import utc_now
from media.turn_check.steps import Attempt, Step
from tests.ports import free_port
from tests.running import heliograph, started

SECRET = "do-not-show-me"


def run(*words: str) -> int:
    return cli.main(["turn", "check", *words])


def test_a_port_without_a_server_is_exit_code_1_with_cause_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert run(f"turn:127.0.0.1:{port}", "--username", "x", "--password", SECRET) == 1
    text = capsys.readouterr().out
    assert f"turn:127.0.0.1:{port} over UDP at 127.0.0.1: FAILED at reach" in text
    assert f"why  Nothing listens on UDP port {port} there." in text
    assert (
        f"fix  Start the server, or check host and port. With Docker, publish the port: -p {port}:{port}/udp." in text
    )
    assert "not tried: challenge, credential, relay address" in text
    assert text.endswith("\n0 of 2 ways work\n")
    assert SECRET not in text


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"turn:127.0.0.1:{free_port()}?transport=udp", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    (attempt,) = answer["attempts"]
    assert (answer["ok"], attempt["ok"], attempt["way"], attempt["address"]) == (False, False, "UDP", "127.0.0.1")
    assert attempt["steps"][1]["result"] == "failed"
    assert attempt["steps"][1].keys() == {"name", "result", "ms", "seen", "cause", "fix"}


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_traceback() -> None:
    command = f"{sys.executable} -P -m app turn check turn:127.0.0.1:{free_port()} | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["turn://x"], "turn://x is no URI of a TURN server: leave out the slashes, turn:x"),
        (["turn:x", "--username", "a"], "--username and --password go together: give both"),
        (["turn:x", "--password", "a"], "--username and --password go together: give both"),
        (["--password", "a", "--password-stdin"], "give --password or --password-stdin, not both"),
        (["turn:x", "--channel", "demo"], "--channel brings URIs and credential: leave them out"),
        (["--turn-port", "0"], "TURN_PORT: 0 is any free port: give the URI"),
        (["--data-dir", "/nowhere/at-all"], "DATA_DIR: /nowhere/at-all holds no TURN secret"),
        (["turn:x", "--ca-file", "/nowhere.pem"], "CA_FILE: /nowhere.pem cannot be read"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"heliograph: {sentence}")
    assert shown.out == ""


def test_a_channel_of_a_service_that_does_not_answer_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--channel", "demo", "--endpoint", f"http://127.0.0.1:{free_port()}", "--token", "x") == 3
    assert "no service answers" in capsys.readouterr().err


def test_what_is_skipped_and_noted_is_shown_too() -> None:
    steps = (
        Step("name", "ok", 0.5, "192.0.2.7"),
        Step("reach", "ok", 0.25, "connected", note="look at this"),
        Step("relay ports", "skipped", 0.0, "not from here"),
        Step("release", "skipped"),
    )
    lines = list(_lines(Attempt("turn:x", "TCP", "192.0.2.7", steps)))
    assert lines == [
        "turn:x over TCP at 192.0.2.7: ok as far as tried, 1 ms",
        "  name               0.5 ms  192.0.2.7",
        "  reach              0.2 ms  connected",
        "                       note  look at this",
        "  relay ports        0.0 ms  skipped: not from here",
        "  not tried: release",
    ]


def test_a_certificate_is_described_by_names_end_and_issuer(tmp_path: Path) -> None:
    files = make_development_files(tmp_path, ("localhost", "127.0.0.1"), utc_now())
    read = [x509.load_pem_x509_certificate(path.read_bytes()) for path in (files.pair.certificate, files.ca)]
    server, ca = (describe(each.public_bytes(Encoding.DER)) for each in read)
    assert server.names == ("localhost", "127.0.0.1")
    assert re.fullmatch("Heliograph development CA [0-9a-f]{8}", server.issuer)
    assert ca.names == (server.issuer,), "without alternative names the common name counts"


def test_the_help_of_the_verb_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["turn", "check", "--help"])
    text = capsys.readouterr().out
    assert "example: heliograph turn check" in text
    assert "--ca-file" in text


def test_turn_without_a_verb_still_serves_and_flags_may_stand_before_the_verb() -> None:
    assert cli.build_parser().parse_args(["turn"]).verb is None
    arguments = cli.build_parser().parse_args(["turn", "--json", "--turn-port", "4000", "check", "turn:x"])
    assert (arguments.verb, arguments.json, arguments.turn_port) == ("check", True, "4000")


@pytest.mark.slow
def test_our_own_server_is_checked_with_the_secret_of_its_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with started("turn", "--data-dir", str(folder), ports=("--turn-port", "0")) as served:
        port = re.search(r":(\d+)\?", served.ready["turn"])
        assert port is not None
        done = heliograph("turn", "check", "--data-dir", str(folder), "--turn-port", port[1], home=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "release" in done.stdout
        uri = served.ready["turn"]
        expired = heliograph("turn", "check", uri, "--username", "1700000000:x", "--password", "y", home=tmp_path)
        assert expired.returncode == 1
        assert "The credential expired" in expired.stdout


@pytest.mark.slow
def test_a_channel_brings_uris_and_credential(tmp_path: Path) -> None:
    with started("demo", home=tmp_path) as demo:
        done = heliograph("turn", "check", "--channel", "demo", "--json", home=tmp_path, variables=demo.variables())
        answer = json.loads(done.stdout)
        assert answer["ok"], done.stdout + done.stderr
        assert {step["result"] for attempt in answer["attempts"] for step in attempt["steps"]} == {"ok"}
