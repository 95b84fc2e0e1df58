import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.measured import Row
from tests.ports import free_port
from tests.running import COMMAND, FREE_PORTS, Started, ends_within, environment, heliograph, started

pytestmark = pytest.mark.slow


def test_the_ready_line_is_one_line_with_everything_to_begin(row: Row) -> None:
    with started("demo") as demo:
        ready = demo.ready
        assert list(ready) == [
            "http", "https", "turn", "channel_name", "channel_arn", "viewer_url", "token", "ready_ms",
        ]  # fmt: skip
        assert ready["https"] is None
        assert ready["turn"].startswith("turn:127.0.0.1:")
        assert ready["turn"].endswith("?transport=udp")
        assert ready["viewer_url"] == f"{ready['http']}/viewer#channel=demo&token={ready['token']}"
        assert ready["ready_ms"] > 0
        code, seconds = demo.stop(signal.SIGINT)
    assert code == 0
    row("ready", ready["ready_ms"] / 1000, goal=1.0)
    row("end after SIGINT", seconds, goal=2.0)


def test_it_leaves_no_process_no_file_and_no_socket(tmp_path: Path, row: Row) -> None:
    with started("demo", within=("env", f"TMPDIR={tmp_path}")) as demo:  # other demos come and go in /tmp
        children = demo.children()
        assert set(children) == {"turn", "master"}
        code, seconds = demo.stop(signal.SIGTERM)
    assert code == 0
    row("end after SIGTERM", seconds, goal=2.0)
    assert all(ends_within(pid, 0) for pid in children.values())
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(demo.ready["http"], timeout=30)


def test_no_secret_is_on_a_command_line_or_in_an_environment() -> None:
    with started("demo") as demo:
        for pid in (demo.process.pid, *demo.children().values()):
            for file in ("cmdline", "environ"):
                assert demo.ready["token"] not in Path(f"/proc/{pid}/{file}").read_text()


def test_children_end_when_the_parent_is_killed() -> None:
    with started("demo") as demo:
        children = demo.children()
        demo.stop(signal.SIGKILL)
        assert all(ends_within(pid, 30) for pid in children.values())


@pytest.mark.parametrize("part", ["turn", "master"])
def test_a_part_that_dies_ends_the_demo_with_its_name(part: str) -> None:
    with started("demo", stderr=subprocess.PIPE) as demo:
        os.kill(demo.children()[part], signal.SIGKILL)
        assert demo.process.wait(60) == 30
        assert demo.process.stderr is not None
        assert demo.process.stderr.read() == (
            f"heliograph: {part} ended by itself (signal SIGKILL); the log above may say why; start again\n"
        )


def test_two_demos_live_side_by_side() -> None:
    with (
        started("demo", ports=(), stderr=subprocess.PIPE) as first,
        started("demo", ports=(), stderr=subprocess.PIPE) as second,
    ):
        assert first.ready["http"] != second.ready["http"]
        assert first.ready["turn"] != second.ready["turn"]
        for demo in (first, second):
            assert _channels(demo) == ["camera", "demo"]
        second.stop()
        assert second.process.stderr is not None
        told = second.process.stderr.read()
    assert "HTTP_PORT: 8080 is taken, using" in told
    assert "TURN_PORT: 3478 is taken, using" in told
    assert "OPS_PORT: 9090 is taken, using" in told


@pytest.mark.parametrize(
    ("name", "kind"), [("http", socket.SOCK_STREAM), ("ops", socket.SOCK_STREAM), ("turn", socket.SOCK_DGRAM)]
)
def test_a_port_that_was_asked_for_does_not_move(name: str, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", free_port()))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        answer = heliograph("demo", *FREE_PORTS, f"--{name}-port", str(port))
    assert answer.returncode == 2
    sentence = f"heliograph: {name.upper()}_PORT: {port} on 127.0.0.1 is taken; choose another"
    assert answer.stderr.splitlines()[-1].startswith(sentence), answer.stderr  # before it, what its parts miss


def _channels(demo: Started) -> list[str]:
    answer = _run(demo, "channel", "list", "--json")
    assert answer.returncode == 0, answer.stderr
    return [channel["ChannelName"] for channel in json.loads(answer.stdout)]


def _run(demo: Started, *words: str) -> subprocess.CompletedProcess[str]:
    return heliograph(*words, variables=demo.variables())


def test_a_newer_master_takes_over_and_the_demo_runs_on() -> None:
    with started("demo", stderr=subprocess.PIPE) as demo:
        command = [*COMMAND, "master", "--channel", "demo"]
        own = demo.children()["master"]
        with subprocess.Popen(command, env=environment() | demo.variables(), stderr=subprocess.DEVNULL) as newer:
            try:
                assert ends_within(own, 30)
                answer = _run(demo, "viewer", "--channel", "demo", "--frames", "1", "--json")
                assert answer.returncode == 0, answer.stderr
            finally:
                newer.terminate()
            assert newer.wait(60) == 0
        assert demo.stop()[0] == 0
        assert demo.process.stderr is not None
        assert "a newer master took over the channel demo" in demo.process.stderr.read()


def test_a_viewer_sees_the_picture_directly_and_by_relay() -> None:
    with started("demo") as demo:
        for words, paths in (([], {"host", "prflx", "srflx", "relay"}), (["--relay"], {"relay"})):
            answer = _run(demo, "viewer", "--channel", "demo", "--frames", "5", "--json", *words)
            assert answer.returncode == 0, answer.stderr
            report = json.loads(answer.stdout)
            assert report["path"] in paths
            assert (report["frames"], report["width"], report["height"]) == (5, 1280, 720)
            assert report["counter_last"] > report["counter_first"]


def test_the_page_for_people_has_lines_that_work() -> None:
    command = [*COMMAND, "demo", *FREE_PORTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            text = _page(process)
            assert "/viewer#channel=demo&token=" in text
            assert "/viewer#channel=demo&relay=1&token=" in text
            assert "/master#channel=camera&token=" in text
            script = text[text.index("  export ") : text.rindex("\n")]  # export and curl; the last line is the viewer's
            answer = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
            assert json.loads(answer.stdout)["ChannelInfo"]["ChannelName"] == "demo", answer
        finally:
            process.terminate()
        assert process.wait(60) == 0


def _page(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    page: list[str] = []
    for line in process.stdout:
        page.append(line.rstrip())
        if " viewer --channel demo" in line:
            break
    return "\n".join(page)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--source", "file:/nowhere.mp4"], "--source file:/nowhere.mp4:"),
        (["--turn-min-port", "49300", "--turn-max-port", "49200"], "TURN_MIN_PORT: 49300 is over TURN_MAX_PORT"),
    ],
)
def test_what_cannot_start_is_told_in_one_sentence(words: list[str], sentence: str) -> None:
    answer = heliograph("demo", *FREE_PORTS, *words)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"heliograph: {sentence}")
    assert answer.stderr.count("\n") == 1


def test_sigterm_before_it_is_ready_leaves_nothing() -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "--json", "--http-port", "0"], env=environment(), stdout=subprocess.PIPE
    ) as early:
        children: list[int] = []
        path = Path(f"/proc/{early.pid}/task/{early.pid}/children")
        while len(children) < 2 and early.poll() is None:
            children = [int(pid) for pid in path.read_text().split()]
        early.terminate()
        assert early.wait(60) == 0
    assert all(ends_within(pid, 30) for pid in children)
