import re
import subprocess

import pytest

from tests.running import Started, heliograph, started

pytestmark = pytest.mark.slow


def watch(demo: Started, *words: str) -> subprocess.CompletedProcess[str]:
    return heliograph("viewer", *words, variables=demo.variables())


def test_each_step_that_fails_has_its_sentence_and_exit_code() -> None:
    with started("demo") as demo:
        cases = (
            (["--channel", "nowhere"], 10, "nowhere"),
            (["--channel", "demo", "--token", "wrong"], 11, "heliograph token --data-dir"),
            (["--channel", "camera", "--timeout", "1"], 12, "camera"),
            (["--channel", "demo", "--frames", "9999", "--timeout", "4"], 15, "wait longer with --timeout"),
            (["--channel", "demo", "--endpoint", "http://127.0.0.1:9"], 3, "--endpoint or HELIOGRAPH_ENDPOINT"),
            (["--channel", "demo", "--client-id", "AWS_x"], 2, "ClientId"),
        )
        for words, code, sentence in cases:
            answer = watch(demo, *words, "--json")
            assert answer.returncode == code, answer.stderr
            assert answer.stdout == ""
            assert sentence in answer.stderr
            assert "Traceback" not in answer.stderr


def test_people_get_a_sentence() -> None:
    with started("demo") as demo:
        answer = watch(demo, "--channel", "demo", "--frames", "3", "--codec", "VP8")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("3 frames, VP8 1280x720, by the path ")


def test_latency_is_a_number_with_its_error() -> None:
    with started("demo") as demo:
        answer = watch(demo, "--channel", "demo", "--latency", "--frames", "90")
        assert answer.returncode == 0, answer.stderr
        told = re.search(
            r"glass to glass: min (\d+) ms, p50 (\d+) ms, p95 (\d+) ms.*a frame \((\d+) ms\)", answer.stdout
        )
        assert told, answer.stdout
        shortest, half, most, frame = map(int, told.groups())
        assert 0 <= shortest <= half <= most
        assert frame > 0
        assert "another machine" not in answer.stdout
