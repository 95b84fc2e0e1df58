"""Ten viewers in one Chromium at once, also while packets get lost: all go on, and what each gets is printed.

Two cores decode ten streams of 720p30 and little else. How many pictures a second that leaves is a matter of the
machine, so the best of three tries is printed beside the goal, and no more is asked than that all go on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Visit, chromium
from tests.running import FREE_PORTS, environment, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(240)]

VIEWERS = 10
SECONDS = 10
TRIES = 3

# Joins, and returns once all have shown a picture for a second.
JOIN = """
async ({ channel, token, count }) => {
  const load = (name) => import(`/static/${name}.js`);
  const [{ Service }, { Channel }, { Watch }] = await Promise.all(["api", "channel", "watch"].map(load));
  const service = new Service(location.origin, token);
  window.crowd = Array.from({ length: count }, (_, index) => {
    const video = document.createElement("video");
    video.muted = true;
    video.width = 128;
    document.body.append(video);
    const watch = new Watch(new Channel(service, channel, "VIEWER", `crowd-${index}`));
    const playing = new Promise((resolve) => {
      watch.addEventListener("stream", ({ detail }) => {
        video.srcObject = detail;
        video.play().catch(() => {});
        video.requestVideoFrameCallback(() => { watch.pictured(watch.player); resolve(); });
      });
    });
    watch.start();
    return { watch, playing };
  });
  await Promise.all(window.crowd.map(({ playing }) => playing));
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
"""
# What each decoded in so many seconds.
COUNT = """
async (seconds) => {
  const read = async ({ watch }) => [...(await watch.player.getStats()).values()]
    .find((entry) => entry.type === "inbound-rtp" && entry.kind === "video") ?? {};
  const before = await Promise.all(window.crowd.map(read));
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const after = await Promise.all(window.crowd.map(read));
  return after.map((now, index) => {
    const since = (name) => (now[name] ?? 0) - (before[index][name] ?? 0);
    return {
      fps: since("framesDecoded") / seconds,
      freezes: since("freezeCount"),
      dropped: since("framesDropped"),
      lost: since("packetsLost"),
      again: since("retransmittedPacketsReceived"),
      plis: since("pliCount"),
      mbps: since("bytesReceived") * 8e-6 / seconds,
      width: now.frameWidth ?? 0,
    };
  });
}
"""


def watched(tmp_path: Path, part_lost: float, is_good: Any) -> list[list[dict[str, float]]]:
    """What ten viewers get of a master that loses so much, in some tries, of which only the last may be good."""
    words = [sys.executable, "-m", "tests.app.lossy_master", str(part_lost), "--channel", "camera", "--json"]
    with (
        chromium(tmp_path / "chromium") as browser,
        running("demo", *FREE_PORTS, home=tmp_path / "demo") as demo,
    ):
        variables = {"HELIOGRAPH_ENDPOINT": demo["http"], "HELIOGRAPH_TOKEN": demo["token"]}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment() | variables) as master:
            try:
                assert master.stdout is not None
                assert json.loads(master.stdout.readline())["type"] == "ready"
                visit = Visit(browser, demo["http"])
                visit.page.goto(f"{demo['http']}/#token={demo['token']}")
                visit.page.evaluate(JOIN, {"channel": "camera", "token": demo["token"], "count": VIEWERS})
                tries: list[list[dict[str, float]]] = []
                while len(tries) < TRIES and not (tries and is_good(tries[-1])):
                    tries.append(visit.page.evaluate(COUNT, SECONDS))
                    print(f"{VIEWERS} viewers, {part_lost:.0%} lost at the sender, {SECONDS} s:", summary(tries[-1]))
                visit.page.evaluate("window.crowd.forEach(({ watch }) => watch.stop())")
            finally:
                master.terminate()
                master.wait(60)
    assert any(all(row["fps"] > 0 for row in rows) for rows in tries), tries
    return tries


def summary(rows: list[dict[str, float]]) -> str:
    rates = sorted(row["fps"] for row in rows)
    sums = {name: sum(row[name] for row in rows) for name in ("freezes", "dropped", "lost", "again", "plis")}
    most = max(row["mbps"] for row in rows)
    least = min(row["width"] for row in rows)
    return f"fps {rates[0]:.1f} to {rates[-1]:.1f}, {least} wide, {most:.2f} Mbit/s at most, " + ", ".join(
        f"{name} {value:.0f}" for name, value in sums.items()
    )


def test_ten_viewers_see_the_picture_move_and_nothing_is_lost(tmp_path: Path) -> None:
    def is_good(rows: list[dict[str, float]]) -> bool:
        return all(row["fps"] >= 29.5 and row["freezes"] == 0 and row["width"] == 1280 for row in rows)

    tries = watched(tmp_path, 0.0, is_good)
    print("30 fps and 0 freezes:", "reached" if is_good(tries[-1]) else "missed")
    # A browser that stands still has its sockets overflow: of a master that loses something, no try is without loss.
    assert min(sum(row["lost"] for row in rows) for rows in tries) == 0


def test_ten_viewers_see_the_picture_move_while_one_packet_in_twenty_is_lost(tmp_path: Path) -> None:
    def is_good(rows: list[dict[str, float]]) -> bool:
        return all(row["fps"] >= 28 and row["width"] == 1280 for row in rows)

    tries = watched(tmp_path, 0.05, is_good)
    print("28 fps:", "reached" if is_good(tries[-1]) else "missed")
    assert any(all(row["again"] > 0 for row in rows) for rows in tries), "nothing was lost"
