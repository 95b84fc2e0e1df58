"""The recording page in real Chromium: it plays, seeks, skips gaps, goes on at the newest, and says what is missing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from media.recording.names import read_segment
from tests.app.test_recording import recorded_s, until
from tests.chromium import Visit, chromium
from tests.running import FREE_PORTS, running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

Open = Callable[..., Visit]
VIDEO = "document.querySelector('video')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A demo that has recorded for some seconds, with a gap of two segments in it, and one wherever the machine stood
    still for longer than a picture may last.
    """
    root = tmp_path_factory.mktemp("recordings")
    flags = ("--recordings", str(root), "--source", "test?size=640x360")
    with running("demo", *FREE_PORTS, *flags, home=tmp_path_factory.mktemp("demo")) as ready:
        until(lambda: recorded_s(root) > 16)
        for path in root.glob("*/*/*/*.m4s"):
            segment = read_segment(path.name)
            if segment and segment.number in (3, 4):
                path.unlink()
        yield {**ready, "root": root}


@pytest.fixture
def visit(browser: Browser, demo: dict[str, Any]) -> Iterator[Open]:
    visits: list[Visit] = []

    def start(address: str, **options: Any) -> Visit:
        made = Visit(browser, demo["http"], **options)
        visits.append(made)
        made.page.goto(demo["http"] + address)
        return made

    yield start
    for made in visits:
        made.assert_clean(demo["token"])
        made.context.close()


def recording(demo: dict[str, Any]) -> str:
    return f"/recording#channel={demo['channel_name']}&token={demo['token']}"


def with_gap(made: Visit) -> None:
    """It plays, and shows that something is missing between."""
    made.wait("playing")
    made.until("Number(document.body.dataset.stretches) >= 2")


def moves(made: Visit) -> None:
    """The picture plays on for a second."""
    made.until(f"{VIDEO}.readyState > 2 && !{VIDEO}.paused")
    before = made.page.evaluate(f"{VIDEO}.currentTime")
    made.until(f"{VIDEO}.currentTime > {before} + 1")


def test_it_plays_on_from_the_newest_while_the_master_records(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(recording(demo))
    with_gap(made)
    for _ in range(3):
        moves(made)
    said = made.said()
    assert 0 < int(said["newest"]) - int(said["position"]) < 120_000
    quality = made.page.evaluate(f"{VIDEO}.getVideoPlaybackQuality().totalVideoFrames")
    assert quality > 3
    assert made.page.evaluate(f"{VIDEO}.videoWidth") == 640
    assert abs(int(said["newest"]) / 1000 - time.time()) < 120


def test_it_seeks_to_the_first_second_and_skips_the_gap(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(recording(demo))
    with_gap(made)
    made.page.locator("#stretches button").last.click()
    moves(made)
    first = int(made.said()["position"])
    made.page.select_option("#speed", "4")
    made.until(f"Number(document.body.dataset.position) > {first} + 9000")
    moves(made)


def test_the_keyboard_is_enough(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(recording(demo))
    made.wait("playing")
    moves(made)
    made.page.keyboard.press("Space")
    made.wait("playing", paused="true")
    before = int(made.said()["position"])
    made.page.keyboard.press("ArrowLeft")
    made.until(f"Number(document.body.dataset.position) < {before} - 1000")  # ten seconds, or to the end of a gap there
    made.page.keyboard.press("Space")
    moves(made)
    made.page.focus("#line")
    at = int(made.page.input_value("#line"))
    made.page.keyboard.press("ArrowRight")
    made.until(f"Number(document.body.dataset.position) >= {at} && {VIDEO}.readyState > 2")
    made.page.locator("h1").click()
    made.page.keyboard.press("l")
    made.until("Number(document.body.dataset.newest) - Number(document.body.dataset.position) < 9000")
    moves(made)


def test_it_says_what_is_missing(visit: Open, demo: dict[str, Any]) -> None:
    address = recording(demo)
    for channel, state, failure, command in (
        ("camera", "waiting", "no-recording", f"master --channel camera --endpoint {demo['http']} --record DIR"),
        ("nowhere", "failed", "no-channel", f"channel create nowhere --endpoint {demo['http']}"),
    ):
        made = visit(address.replace("channel=demo", f"channel={channel}"))
        assert made.wait(state)["failure"] == failure
        assert command in made.page.inner_text("#notice")
    assert visit("/recording#channel=demo").wait("failed")["failure"] == "no-token"
    assert visit("/recording#channel=demo&token=a.b.c").wait("failed")["failure"] == "token-refused"


def test_a_channel_that_was_recorded_has_links_to_it(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(f"/#token={demo['token']}")
    made.page.get_by_role("link", name="Recording: demo").click()
    made.wait("playing")
    made.page.get_by_role("link", name="Viewer").click()
    made.page.locator("#recorded").click()
    made.wait("playing")
    assert made.page.url.endswith("/recording#channel=demo")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width", "height"), [("phone", 360, 740), ("desk", 1280, 900)])
def test_it_fits_the_screen(
    visit: Open, demo: dict[str, Any], tmp_path: Path, scheme: str, name: str, width: int, height: int
) -> None:
    made = visit(recording(demo), color_scheme=scheme, viewport={"width": width, "height": height})
    made.wait("playing")
    moves(made)
    made.page.select_option("#span", "10")
    made.page.wait_for_timeout(500)
    made.page.screenshot(path=tmp_path / f"recording-{name}-{scheme}.png", full_page=True)
    assert made.page.evaluate("document.documentElement.scrollWidth") <= width
    heights = made.page.eval_on_selector_all(".button", "all => all.map(one => one.offsetHeight)")
    assert max(heights) < 50, "a label of two lines"
