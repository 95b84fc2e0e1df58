"""The pages in real Chromium against a real `heliograph demo`: picture, paths, codecs, ten viewers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.chromium import LIVE_PEER, Visit, chromium
from tests.measured import Row
from tests.running import FREE_PORTS, running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

Open = Callable[..., Visit]

# Viewers of one page, by the page's own modules: `[{frames, width, path, moved}]` once each has decoded so many frames.
CROWD = """
async ({ channel, token, count, frames }) => {
  const load = (name) => import(`/static/${name}.js`);
  const [{ Service }, { Channel }, { Watch }, { Screen }, { summariseInbound }] =
    await Promise.all(["api", "channel", "watch", "screen", "statistics"].map(load));
  const service = new Service(location.origin, token);
  window.crowd = Array.from({ length: count }, (_, index) => {
    const video = document.createElement("video");
    video.muted = true;
    video.width = 160;
    document.body.append(video);
    const watch = new Watch(new Channel(service, channel, "VIEWER", `crowd-${index}`));
    const screen = new Screen(video, watch);
    const playing = new Promise((resolve, reject) => {
      const refuse = () => reject(new Error(`viewer ${index}: ${watch.state} ${watch.failure?.sentence}`));
      setTimeout(refuse, 60000);
      watch.addEventListener("change", () => {
        if (watch.state === "failed" || watch.state === "refused") refuse();
      });
      screen.addEventListener("frame", resolve);
    });
    watch.start();
    return { watch, screen, playing };
  });
  await Promise.all(window.crowd.map(({ playing }) => playing));
  const read = async ({ watch, screen }) => {
    return { ...summariseInbound(await watch.player.getStats()), counter: screen.frameNumber };
  };
  const before = await Promise.all(window.crowd.map(read));
  const deadline = performance.now() + 60000;
  let after = before;
  const isFar = (now, index) => now.frames - (before[index].frames ?? 0) >= frames
    && now.counter - before[index].counter >= frames;
  while (!after.every(isFar) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    after = await Promise.all(window.crowd.map(read));
  }
  return after.map((now, index) => ({
    frames: now.frames - (before[index].frames ?? 0),
    width: now.width,
    path: now.path,
    moved: now.counter - before[index].counter,
    first: window.crowd[index].screen.firstFrameMs,
  }));
}
"""

# The browser shows pictures, but its word that it is connected never comes; it may be late, on a busy machine.
WORDLESS = """
Object.defineProperty(RTCPeerConnection.prototype, "onconnectionstatechange", { set() {} });
"""

# The clock of the page stands still until it is moved, and getStats tells of the media what the test says.
MEDIA = """
window.media = { now: 1000, looks: 0, bytes: 0, reports: 0, isReporting: false };
window.failures = [];
performance.now = () => window.media.now;
const getStats = RTCPeerConnection.prototype.getStats;
RTCPeerConnection.prototype.getStats = async function () {
  const [{ media }, real] = [window, await getStats.call(this)];
  media.looks += 1; // from here to the caller's next line nothing else runs
  media.reports += media.isReporting;
  const told = new Map([["SR", { id: "SR", type: "remote-outbound-rtp", kind: "video", reportsSent: media.reports }]]);
  for (const [id, entry] of real) {
    const bytesReceived = entry.kind === "video" ? media.bytes : 0;
    if (entry.type === "inbound-rtp") told.set(id, { ...entry, bytesReceived });
    else if (entry.type !== "remote-outbound-rtp") told.set(id, entry);
  }
  return told;
};
new MutationObserver(() => window.failures.push(document.body.dataset.failure))
  .observe(document, { subtree: true, attributeFilter: ["data-failure"] });
"""
REPORTS = f"""async () => [...(await {LIVE_PEER}.getStats()).values()]
  .filter((entry) => entry.type === "remote-outbound-rtp" && entry.kind === "video")
  .reduce((total, entry) => total + (entry.reportsSent ?? 0), 0)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def demo(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running("demo", *FREE_PORTS, home=tmp_path_factory.mktemp("demo")) as ready:
        yield ready


@pytest.fixture
def visit(browser: Browser, demo: dict[str, Any]) -> Iterator[Open]:
    """Open a page of the demo by its path and fragment; what each did is checked in the end."""
    visits: list[Visit] = []

    def start(address: str, **options: Any) -> Visit:
        made = Visit(browser, demo["http"], **options)
        visits.append(made)
        made.page.goto(demo["http"] + address)
        return made

    yield start
    try:
        for made in visits:
            made.assert_clean(demo["token"])
    finally:
        for made in visits:
            made.context.close()


def viewer(demo: dict[str, Any], more: str = "") -> str:
    return f"/viewer#channel={demo['channel_name']}{more}&token={demo['token']}"


def test_the_printed_link_plays(visit: Open, demo: dict[str, Any], row: Row) -> None:
    address = demo["viewer_url"].removeprefix(demo["http"])
    made = visit(address)
    row("first frame", float(made.wait("playing")["firstFrameMs"]) / 1000, goal=5.0)


def test_a_picture_that_overtakes_the_word_connected_is_live(visit: Open, demo: dict[str, Any]) -> None:
    made = visit("/")
    made.context.add_init_script(WORDLESS)
    made.page.goto(demo["http"] + viewer(demo))
    said = made.wait("playing")
    assert 0 < float(said["answerMs"]) <= float(said["connectedMs"])
    made.wait("playing", codec="H264", control="ready")


def look(made: Visit, passed_ms: int, **media: object) -> None:
    """Let the time pass and the page look at its media until it must have seen that."""
    made.page.evaluate("([passed, media]) => Object.assign(window.media, media).now += passed", [passed_ms, media])
    made.page.evaluate("window.media.until = window.media.looks + 4")
    made.until("window.media.looks >= window.media.until || window.failures.at(-1)")


def test_a_pause_is_no_end_and_the_first_picture_has_its_time(visit: Open, demo: dict[str, Any]) -> None:
    made = visit("/")
    made.context.add_init_script(MEDIA)
    made.page.goto(demo["http"] + viewer(demo))
    made.wait("playing")
    look(made, 29_000)
    look(made, 500, bytes=1)
    for _ in range(2):
        look(made, 4_000, isReporting=True)
    assert made.page.evaluate("window.failures.filter(Boolean)") == []
    look(made, 0, isReporting=False)
    look(made, 4_000)
    made.until("window.failures.includes('media-stopped')")
    made.wait("playing")
    look(made, 31_000, bytes=0)
    made.until("window.failures.includes('no-media')")


def test_the_browser_tells_of_the_reports_of_the_master(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo))
    made.wait("playing")
    made.until(f"await ({REPORTS})() >= 2")


@pytest.mark.alone
@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_the_direct_path_plays_on(visit: Open, demo: dict[str, Any], codec: str, row: Row) -> None:
    made = visit(viewer(demo, f"&codec={codec}"))
    made.wait("playing", codec=codec)
    made.page.wait_for_selector("body[data-counter]", state="attached")
    before = int(made.said()["counter"])
    row("of 30 pictures a second", made.decodes(250), "pictures")
    made.until(f"Number(document.body.dataset.counter) >= {before + 250}")
    said, pair = made.said(), made.selected_pair()
    assert int(said["latencyMs"]) >= 0
    assert 0 < int(said["latencyP50"]) <= int(said["latencyP95"])
    row("latency, the middle", int(said["latencyP50"]) / 1000)
    assert made.page.inner_text("#latency").endswith(" ms")
    assert pair["frameWidth"] == 1280
    assert pair["codec"] == f"video/{codec}"
    assert "relay" not in (pair["local"], pair["remote"])
    assert (said["path"], said["width"], said["height"]) == (pair["local"], "1280", "720")


@pytest.mark.alone
def test_relay_only_plays_on_and_says_relay(visit: Open, demo: dict[str, Any], row: Row) -> None:
    made = visit(viewer(demo, "&relay=1"))
    made.wait("playing", path="relay")
    row("of 30 pictures a second", made.decodes(250), "pictures")
    assert made.selected_pair()["local"] == "relay"
    assert "relay" in made.page.inner_text("#path")
    assert int(made.said()["counter"]) > 0


@pytest.mark.alone
def test_a_viewer_without_trickle_plays(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo, "&trickle=0"))
    made.wait("playing")
    made.decodes(20)


def test_a_switch_on_the_page_connects_anew(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo))
    made.wait("playing", path="host")
    made.page.get_by_label("Relay only").check()
    made.wait("playing", path="relay")
    assert "relay=1" in made.page.url
    made.page.select_option("#codec", "VP8")
    made.wait("playing", codec="VP8", path="relay")


@pytest.mark.alone
def test_ten_viewers_play_and_the_eleventh_waits_for_a_place(visit: Open, demo: dict[str, Any]) -> None:
    crowd = visit(f"/#token={demo['token']}")
    arguments = {"channel": demo["channel_name"], "token": demo["token"], "count": 10, "frames": 60}
    rows = crowd.page.evaluate(CROWD, arguments)
    print("ten viewers:", rows)
    assert len(rows) == 10
    assert all(row["width"] == 1280 and row["frames"] >= 60 and row["moved"] >= 60 for row in rows), rows
    eleventh = visit(viewer(demo))
    eleventh.wait("refused", failure="full")
    sentence = eleventh.page.inner_text("#notice-sentence")
    assert "viewers_per_channel is 10" in sentence
    crowd.page.evaluate("window.crowd[4].watch.stop()")
    eleventh.page.click("#retry")
    eleventh.wait("playing")
    crowd.page.evaluate("window.crowd.forEach(({ watch }) => watch.stop())")


@pytest.mark.alone
def test_a_cut_socket_comes_back_while_the_picture_goes_on(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo))
    made.wait("playing")
    made.page.evaluate("window.sockets.at(-1).close(4000)")
    made.until("window.sockets.length > 1 && window.sockets.at(-1).readyState === 1")
    made.decodes(20)
    said = made.said()
    assert (said["state"], said["offers"], said["failure"]) == ("playing", "1", "")


def test_the_numbers_can_be_saved_as_csv(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo))
    made.wait("playing", path="host")
    made.page.click("text=More numbers")
    with made.page.expect_download() as download:
        made.page.click("text=Save as CSV")
    lines = download.value.path().read_text().splitlines()
    assert {"fps", "rttMs", "lost", "path", "codec"} <= set(lines[0].split(","))
    assert len(lines) >= 2


def test_the_first_page_lists_channels_with_links_that_carry_the_token(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(f"/#token={demo['token']}")
    made.wait("ready")
    assert demo["token"] not in made.page.url
    made.page.get_by_label(f"Watch: {demo['channel_name']}").click()
    made.wait("playing")
    assert demo["token"] not in made.page.url


def test_a_reloaded_page_has_forgotten_the_token(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo))
    made.wait("playing")
    made.page.reload()
    made.wait("failed", failure="no-token")
    assert "in memory only, so a reload forgets it" in made.page.inner_text("#notice-sentence")
    made.until("document.activeElement.matches('input, textarea')")
    made.page.keyboard.insert_text(demo["viewer_url"])
    made.page.keyboard.press("Enter")
    made.wait("playing")


def test_links_between_the_pages_keep_the_token_and_the_way_back_says_why_it_is_gone(
    visit: Open, demo: dict[str, Any]
) -> None:
    made = visit(viewer(demo))
    made.wait("playing")
    made.page.click("nav >> text=Camera")
    made.wait("idle", failure="")
    made.page.click("nav >> text=Viewer")
    made.wait("playing")
    made.page.go_back()
    made.wait("failed", failure="no-token")
    assert "leaving the page forgets it" in made.page.inner_text("#notice-sentence")


def test_without_a_choice_the_codec_is_h264(visit: Open, demo: dict[str, Any]) -> None:
    made = visit(viewer(demo))
    made.wait("playing", codec="H264")
    offer = made.page.evaluate("window.peers.at(-1).localDescription.sdp")
    assert "VP8/90000" in offer  # still offered, for masters without H.264


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width", "height"), [("phone", 360, 740), ("desk", 1280, 900)])
def test_pages_fit_the_screen(
    visit: Open, demo: dict[str, Any], tmp_path: Path, scheme: str, name: str, width: int, height: int
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": height}}
    addresses = {
        "channels": f"/#token={demo['token']}",
        "token": "/",
        "viewer": viewer(demo),
        "camera": viewer(demo).replace("/viewer", "/master"),
        "missing": viewer(demo).replace(demo["channel_name"], "missing"),
    }
    for page, address in addresses.items():
        made = visit(address, **options)
        made.page.wait_for_selector("body:not([data-state='loading']):not([data-state='connecting'])", state="attached")
        if page == "viewer":
            made.wait("playing")
            made.page.wait_for_timeout(1500)  # for the first numbers; the picture is for people
        made.page.screenshot(path=tmp_path / f"{page}-{name}-{scheme}.png", full_page=True)
        assert made.page.evaluate("document.documentElement.scrollWidth") <= width, page
        heights = made.page.eval_on_selector_all("a.button", "all => all.map(one => one.offsetHeight)")
        assert max(heights, default=0) < 50, f"{page}: a label of two lines"
