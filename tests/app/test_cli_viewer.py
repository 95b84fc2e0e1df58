import re
import subprocess
from collections.abc import Sequence

import pytest

from tests.running import Started, heliograph, started

pytestmark = pytest.mark.slow


def watch(demo: Started, *words: str) -> subprocess.CompletedProcess[str]:
    return heliograph("viewer", *words, variables=demo.variables())


@pytest.mark.timeout(240)
def test_each_step_that_fails_has_its_sentence_and_exit_code() -> None:
    with started("demo") as demo:
        cases = (
            (["--channel", "nowhere"], 10, "nowhere"),
            (["--channel", "demo", "--token", "wrong"], 11, "heliograph token --data-dir"),
            (["--channel", "demo", "--endpoint", "http://127.0.0.1:9"], 3, "--endpoint or HELIOGRAPH_ENDPOINT"),
            (["--channel", "demo", "--client-id", "AWS_x"], 2, "ClientId"),
        )
        answers = [(watch(demo, *words, "--json"), code, sentence) for words, code, sentence in cases]
        answers += [
            (in_time(demo, 12, ("1", "5", "20"), "--channel", "camera"), 12, "camera"),
            (
                in_time(demo, 15, ("4", "15", "40"), "--channel", "demo", "--frames", "9999"),
                15,
                "longer with --timeout",
            ),
        ]
    for answer, code, sentence in answers:
        assert answer.returncode == code, answer.stderr
        assert answer.stdout == ""
        assert sentence in answer.stderr
        assert "Traceback" not in answer.stderr


def in_time(demo: Started, code: int, limits_s: Sequence[str], *words: str) -> subprocess.CompletedProcess[str]:
    """Watch for so long, then longer: where a machine stalls the time is over before the step that shall fail."""
    for limit_s in limits_s:
        answer = watch(demo, *words, "--timeout", limit_s, "--json")
        if answer.returncode == code:
            break
    return answer


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
