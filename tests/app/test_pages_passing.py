"""Chromium on a file that passes through: who joins between two key frames sees a picture at once all the same."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.video.frame import PictureType

from tests.chromium import LIVE_PEER, Visit, chromium
from tests.running import FREE_PORTS, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(240)]

JOINS = 10
GROUP = 50  # pictures from one key frame to the next: 1.7 s at 30 a second
FREEZES = f"""async () => {{
  const stats = [...(await {LIVE_PEER}.getStats()).values()];
  const video = stats.find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
  return [video.freezeCount, video.framesDecoded, video.pliCount, video.packetsLost, video.keyFramesDecoded];
}}"""


def film(path: Path) -> None:
    """Ten seconds of 1280x720 that a master passes on as they are, at about 2 Mbit/s."""
    graph = av.filter.Graph()
    steps = [
        graph.add("testsrc2", "size=1280x720:rate=30"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    for source, target in itertools.pairwise(steps):
        source.link_to(target)
    graph.configure()
    options = {
        "profile": "baseline",
        "preset": "superfast",
        "x264-params": f"keyint={GROUP}:min-keyint={GROUP}:bframes=0",
    }
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1280, 720, "yuv420p", 2_000_000
        for number in range(300):
            frame = graph.vpull()
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 30), PictureType.NONE
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def test_who_joins_between_key_frames_sees_a_picture_at_once(tmp_path: Path) -> None:
    film(tmp_path / "film.mp4")
    source = ("--source", f"file:{tmp_path / 'film.mp4'}")
    with (
        chromium(tmp_path / "chromium") as browser,
        running("demo", *source, *FREE_PORTS, home=tmp_path / "demo") as demo,
    ):
        first = Visit(browser, demo["http"])
        first.page.goto(demo["viewer_url"])
        first.wait("playing")
        waits = []
        for _ in range(JOINS):
            visit = Visit(browser, demo["http"])
            visit.page.goto(demo["viewer_url"])
            visit.wait("playing")
            visit.until("document.body.dataset.firstFrameMs")
            said = visit.said()
            waits.append(float(said["firstFrameMs"]) - float(said["connectedMs"]))
            visit.decodes(10)
            print(f"{waits[-1]:.0f} ms from connected to the first frame", visit.page.evaluate(FREEZES))
            visit.page.wait_for_timeout(370)  # the next one joins at another place between the key frames
            visit.context.close()
        at_once = sum(wait < 1000 * GROUP / 30 / 2 for wait in waits)
        assert at_once >= JOINS - 2, "half of those who wait for the next key frame are as quick by chance"
