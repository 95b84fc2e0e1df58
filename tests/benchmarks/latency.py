"""Glass to glass: from the counter being drawn into a picture of the test pattern to that picture's display.

Master and viewer on one machine, loopback, 1280x720 at 30 fps and 2 Mbit/s. In Chromium the page reads the counter of
each picture that the video element shows and takes the time at which the browser will display it; `heliograph viewer`
takes the time at which the picture is decoded.
"""

import asyncio
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.bench import Row
from app.exits import CommandError, Exit
from channels.names import Role
from channels.signaling.client import ClientSettings, SignalingClient
from media.peer.tally import Latency
from media.viewer import ViewerSettings, watch
from tests.chromium import Visit, chromium
from tests.running import FREE_PORTS, running

PICTURES = 300
SETTLE_MS = 1_000  # the first second holds the start of the encoder
GOAL = "<= 60"

# The page's own window over the last 300 pictures, filled anew, and what the browser says about its buffer.
WINDOW = """
async (pictures) => {
  const { CounterReader, LatencyWindow, latencyOf } = await import("/static/counter.js");
  const [reader, recent, video] = [new CounterReader(), new LatencyWindow(pictures), document.getElementById("video")];
  await new Promise((resolve) => {
    const step = async (now, { presentationTime, expectedDisplayTime }) => {
      const counter = await reader.read(video);
      const shownAt = Date.now() - performance.now() + Math.max(presentationTime, expectedDisplayTime);
      if (counter) recent.add(latencyOf(counter.clock, shownAt));
      if (recent.summary()?.pictures === pictures) resolve();
      else video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);
  });
  const entries = [...(await window.peers.at(-1).getStats()).values()];
  const video_ = entries.find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
  const buffered = (1000 * video_.jitterBufferDelay) / video_.jitterBufferEmittedCount;
  return { ...recent.summary(), buffered, freezes: video_.freezeCount };
}
"""

Progress = Callable[[str], None]


class Window(msgspec.Struct, frozen=True):
    """Latencies of one viewer in Chromium, in milliseconds; `buffered` is the mean time in its jitter buffer."""

    min: float
    p50: float
    p95: float
    max: float
    pictures: int
    buffered: float
    freezes: int


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure `runs` times 300 pictures in Chromium and in our viewer; a row holds the median over the runs."""
    if shutil.which("chromium") is None:
        raise CommandError("latency needs chromium: install the Debian package of that name", Exit.FAILURE)
    browsers, programs = [], []
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
            home = Path(folder)
            with running("demo", *FREE_PORTS, home=home / "demo") as demo:
                browsers.append(await asyncio.to_thread(_in_chromium, demo, home / "chromium"))
                programs.append(await _in_viewer(demo))
        progress(f"run {number + 1} of {runs}: chromium p95 {browsers[-1].p95:.0f} ms, viewer {programs[-1].p95_ms} ms")
    return rows(browsers, programs)


def _in_chromium(demo: dict[str, Any], home: Path) -> Window:
    with chromium(home) as browser:
        visit = Visit(browser, demo["http"])
        visit.page.goto(demo["viewer_url"])
        visit.wait("playing")
        visit.page.wait_for_timeout(SETTLE_MS)
        return msgspec.convert(visit.page.evaluate(WINDOW, PICTURES), Window)


async def _in_viewer(demo: dict[str, Any]) -> Latency:
    settings = ClientSettings(
        endpoint=demo["http"],
        access=demo["token"],
        channel_name=demo["channel_name"],
        role=Role.VIEWER,
        client_id="bench",
    )
    report = await watch(SignalingClient(settings), ViewerSettings(frames=PICTURES, timeout_s=60))
    if report.latency is None:
        raise CommandError("the test pattern shows no counter", Exit.FAILURE)
    return report.latency


def rows(browsers: Sequence[Window], programs: Sequence[Latency]) -> tuple[Row, ...]:
    """Median and 95th percentile of both kinds of viewer."""
    buffered = statistics.median(window.buffered for window in browsers)
    freezes = sum(window.freezes for window in browsers)
    note = (
        f"{PICTURES} pictures a run, {freezes} freezes; {buffered:.1f} ms of it in the "
        f"jitter buffer; slowest picture {max(window.max for window in browsers):.0f} ms"
    )
    slowest = f"to the decoded picture; slowest {max(latency.max_ms for latency in programs)} ms"
    return (
        _row("glass_to_glass_p50_ms", [window.p50 for window in browsers], "to the display, at most a picture more"),
        _row("glass_to_glass_p95_ms", [window.p95 for window in browsers], note, GOAL),
        _row("glass_to_glass_p50_ms_viewer", [latency.p50_ms for latency in programs], "to the decoded picture"),
        _row("glass_to_glass_p95_ms_viewer", [latency.p95_ms for latency in programs], slowest, GOAL),
    )


def _row(name: str, values: Sequence[float], note: str, goal: str = "-") -> Row:
    spread = f"{min(values):.0f}-{max(values):.0f} over the runs"
    return Row(name, round(statistics.median(values), 1), None, None, "ms", None, goal, f"{spread}; {note}")
