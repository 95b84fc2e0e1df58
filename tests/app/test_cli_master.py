import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import COMMAND, Started, environment, heliograph, started

pytestmark = pytest.mark.slow


def test_a_replaced_master_ends_with_its_own_exit_code() -> None:
    with started("demo") as demo:
        variables = environment() | demo.variables()
        command = [*COMMAND, "master", "--channel", "camera"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as first:
            assert first.stderr is not None
            _await_sending(first)
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as second:
                assert first.wait(60) == 20
                assert "replaced by a newer master" in first.stderr.read()
                _await_sending(second)
                second.terminate()
                assert second.wait(60) == 0


def test_reports_tell_how_each_viewer_came_and_is_served() -> None:
    with started("demo") as demo:
        words = ("master", "--channel", "camera", "--json", "--stats-interval-s", "0.5")
        with subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, text=True, env=environment() | demo.variables()
        ) as master:
            assert master.stdout is not None
            first = json.loads(master.stdout.readline())
            assert first == {"type": "ready", "channel": "camera", "source": "test"}
            command = [*COMMAND, "viewer", "--channel", "camera", "--frames", "9999", "--timeout", "300"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment() | demo.variables()) as viewer:
                report = next(line for line in map(json.loads, master.stdout) if _is_watched(line))
                assert viewer.poll() is None, "it watches as long as it takes"
                viewer.terminate()
            master.terminate()
            assert master.wait(60) == 0
    (found,) = report["viewers"]
    assert found["client_id"]
    assert found["path"].count("/") == 1
    assert found["milestones"]["first_packet_ms"] >= found["milestones"]["dtls_ms"] >= found["milestones"]["ice_ms"]
    picture = next(stream for stream in found["streams"] if stream["codec"] != "opus")
    assert (picture["layer"], picture["mode"]) == (0, "live")
    assert picture["bitrate_bps"] > 0
    assert report["counters"]["sent.packets"] > 0
    assert report["counters"]["encoder_sessions.libx264"] == 1


def _is_watched(line: dict[str, Any]) -> bool:
    return any(stream["fps"] > 0 for viewer in line["viewers"] for stream in viewer["streams"] if stream["rtt_ms"])


def _await_sending(master: subprocess.Popen[str]) -> None:
    assert master.stderr is not None
    for line in master.stderr:
        if "sends test" in line:
            return
    raise AssertionError("the master ended")


@pytest.fixture(scope="module")
def demo() -> Iterator[Started]:
    """One for all masters that do not start."""
    with started("demo") as running:
        yield running


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--channel", "nowhere"], 5, "there is no channel"),
        (["--channel", "camera", "--token", "wrong"], 4, "token"),
        (["--channel", "camera", "--endpoint", "http://127.0.0.1:9"], 3, "--endpoint or HELIOGRAPH_ENDPOINT"),
        (["--channel", "camera", "--source", "rtsp:x"], 2, "--source rtsp:x"),
        (["--channel", "camera", "--encoder", "videotoolbox"], 21, "VideoToolbox exists on macOS alone"),
        (["--channel", "camera", "--encoder", "nvidia"], 2, "known are: auto, software, nvenc"),
        (["--channel", "camera", "--bitrate", "2G"], 2, "2G is no bitrate"),
    ],
)
def test_what_keeps_a_master_from_starting_has_its_exit_code(
    demo: Started, words: list[str], code: int, sentence: str
) -> None:
    answer = heliograph("master", *words, variables=demo.variables())
    assert answer.returncode == code, answer.stderr
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
