"""The viewer page in real Chromium against a master that hears and takes commands."""

import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.chromium import LIVE_PEER, Visit, chromium
from tests.running import COMMAND, FREE_PORTS, environment, running

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.timeout(240)]
SAID_S = 3


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("said") / "said.wav"


@pytest.fixture(scope="module")
def demo(said: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A demo whose channel `camera` has a master that writes down what viewers say."""
    with running("demo", *FREE_PORTS, home=tmp_path_factory.mktemp("demo")) as ready:
        variables = {"HELIOGRAPH_ENDPOINT": ready["http"], "HELIOGRAPH_TOKEN": ready["token"]}
        command = [*COMMAND, "master", "--channel", "camera", "--source", "test?size=640x360"]
        command += ["--talkback", f"file:{said}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment() | variables) as master:
            assert master.stderr is not None
            assert any("sends test" in line for line in master.stderr)
            yield ready
            master.terminate()


@pytest.fixture
def made(browser: Browser, demo: dict[str, Any]) -> Iterator[Visit]:
    visit = Visit(browser, demo["http"])
    visit.page.goto(f"{demo['http']}/viewer#channel=camera&token={demo['token']}")
    visit.wait("playing", control="ready")
    yield visit
    visit.assert_clean(demo["token"])
    visit.context.close()


def test_what_is_said_while_the_button_is_held_is_heard(made: Visit, said: Path) -> None:
    button = made.page.locator("#talk")
    button.hover()
    made.page.mouse.down()
    made.page.wait_for_selector("#talk[aria-pressed=true]")
    began = time.monotonic()
    while not said.exists() or said.stat().st_size < 2 * 48_000 * SAID_S:  # the fake microphone beeps once a second
        made.page.wait_for_timeout(100)
    made.page.mouse.up()
    assert button.inner_text() == "Hold to talk"
    made.until(f"{LIVE_PEER}.getSenders().every(({{track}}) => !track)")
    made.page.wait_for_timeout(1500)  # what was on its way, and the end of the sentence
    with wave.open(str(said), "rb") as file:
        frames = file.getnframes()
        sound = file.readframes(frames)
    assert SAID_S <= frames / 48_000 < time.monotonic() - began + 1
    pieces = [memoryview(sound[at : at + 4800]).cast("h") for at in range(0, len(sound) - 4800, 4800)]
    loud = [max(piece) for piece in pieces]
    print("loudness of each 50 ms:", loud)
    assert sum(each > 2000 for each in loud) >= 2
    assert sum(each < 200 for each in loud) >= 10, "beeps, and silence between them"


def test_the_picture_can_be_saved_and_made_smaller(made: Visit, tmp_path: Path) -> None:
    with made.page.expect_download() as download:
        made.page.click("#snapshot")
    download.value.save_as(tmp_path / "picture.jpg")
    assert (tmp_path / "picture.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    made.page.select_option("#layer", "1")
    made.wait("playing", width="320")
    made.page.select_option("#layer", "")
    made.wait("playing", width="640")
    made.page.locator("details.card summary").click()
    made.until("document.getElementById('command-rtt').textContent.endsWith(' ms')")
    assert made.said()["offers"] == "1", "a choice of the picture needs no new offer"
