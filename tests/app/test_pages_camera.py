"""A browser as the camera of a channel, watched by our own viewer: how soon the picture is a full one."""

import itertools
import json
from pathlib import Path

import av
import pytest

from tests.chromium import Visit, chromium
from tests.measured import Row
from tests.running import FREE_PORTS, heliograph, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(240)]

FULL = (1280, 720)
WANTED_BPS = 2_250_000  # a browser aims at 2.5 Mbit/s for this size; a second has a picture more or less


def camera_file(path: Path, frames: int = 15) -> None:
    """What a camera sees, with its noise: the browser's own fake one moves so little that it needs no 2.5 Mbit/s."""
    graph = av.filter.Graph()
    steps = [
        graph.add("testsrc2", "size=1280x720:rate=30"),
        graph.add("noise", "alls=6:allf=t"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    for source, target in itertools.pairwise(steps):
        source.link_to(target)
    graph.configure()
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W1280 H720 F30:1 Ip A1:1 C420mpeg2\n")
        for _ in range(frames):
            file.write(b"FRAME\n" + graph.vpull().to_ndarray().tobytes())


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_camera_page_is_seen_in_full(tmp_path: Path, codec: str, row: Row) -> None:
    camera_file(tmp_path / "camera.y4m")
    flags = (f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}",)
    with (
        chromium(tmp_path / "chromium", flags=flags) as browser,
        running("demo", *FREE_PORTS, home=tmp_path / "demo") as demo,
    ):
        camera = Visit(browser, demo["http"])
        camera.page.goto(f"{demo['http']}/master#channel=camera&token={demo['token']}")
        camera.page.click("#start")
        camera.wait("open")
        variables = {"HELIOGRAPH_ENDPOINT": demo["http"], "HELIOGRAPH_TOKEN": demo["token"]}
        words = ("--channel", "camera", "--frames", "300", "--timeout", "60", "--codec", codec, "--json")
        answer = heliograph("viewer", *words, variables=variables)
        assert answer.returncode == 0, answer.stderr
        report = json.loads(answer.stdout)
        print(codec, report["first_frame_ms"], report["seconds"], report["stream"])
        assert report["codec"] == codec
        full = [
            report["first_frame_ms"] / 1000 + second["at_s"]
            for second in report["seconds"]
            if (second["width"], second["height"]) == FULL
        ]
        assert full, report["seconds"]
        most_bps = max(second["bitrate_bps"] for second in report["seconds"])
        row("seen in full after the offer", min(full), goal=5.0)
        row(f"of {WANTED_BPS} bit/s in its best second", most_bps, "bit/s")
        camera.assert_clean(demo["token"])
        camera.context.close()
