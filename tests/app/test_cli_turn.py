import json
import secrets
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.measured import Row
from tests.ports import free_port
from tests.running import COMMAND, environment, heliograph, started

pytestmark = pytest.mark.slow
BINDING_REQUEST = bytes.fromhex("00010000 2112a442")
BINDING_SUCCESS = bytes.fromhex("0101")


def test_the_relay_runs_alone_and_answers_stun(tmp_path: Path, row: Row) -> None:
    data = tmp_path / "data"
    with started("turn", "--data-dir", str(data), ports=("--turn-port", "0")) as relay:
        host, port = relay.ready["turn"].removeprefix("turn:").partition("?")[0].split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(30)
            transaction = secrets.token_bytes(12)
            client.sendto(BINDING_REQUEST + transaction, (host, int(port)))
            answer = client.recv(1500)
        assert answer[:2] == BINDING_SUCCESS
        assert answer[8:20] == transaction
        code, seconds = relay.stop(signal.SIGINT)
    assert code == 0
    row("end after SIGINT", seconds, goal=2.0)
    assert (data / "turn.secret").stat().st_mode & 0o777 == 0o600


def test_it_may_open_as_many_files_as_the_system_lets_it(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    command = ["bash", "-c", 'ulimit -Sn 256; exec "$@"', "-", *COMMAND, "turn", "--data-dir", data, "--turn-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("STUN/TURN on")
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        process.terminate()
    files = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(files.split()[3]) > 256


def test_a_taken_port_is_told_by_its_setting(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", free_port()))
        port = str(other.getsockname()[1])
        answer = heliograph("turn", "--data-dir", str(tmp_path / "data"), "--turn-port", port)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"heliograph: TURN_PORT: {port} on 127.0.0.1 is taken")


def test_an_advertised_address_that_does_not_fit_is_told(tmp_path: Path) -> None:
    words = ["turn", "--data-dir", str(tmp_path / "data"), "--turn-port", "0"]
    answer = heliograph(*words, "--turn-advertised-address", "203.0.113.7")
    assert answer.returncode == 2
    assert "203.0.113.7" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_for_people_it_says_where(tmp_path: Path) -> None:
    command = [*COMMAND, "turn", "--data-dir", str(tmp_path / "data"), "--turn-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("STUN/TURN on turn:127.0.0.1:")
        process.terminate()
        assert process.wait(60) == 0


def test_the_ready_line_is_json(tmp_path: Path) -> None:
    with started("turn", "--data-dir", str(tmp_path / "data"), ports=("--turn-port", "0")) as relay:
        assert list(relay.ready) == ["turn", "uris"]
        assert relay.ready["uris"][0] == relay.ready["turn"]
        assert json.dumps(relay.ready)
