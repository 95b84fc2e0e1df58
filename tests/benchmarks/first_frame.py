"""First frame: from a viewer's createOffer, through the real service in its own process, to the first decoded frame.

Joins come one after another, on loopback, while the master sends the test pattern at 1280x720 and 30 fps.
"""

import asyncio
import math
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
from media.viewer import ViewerSettings, watch
from tests.chromium import Visit, chromium
from tests.running import FREE_PORTS, running

JOINS = 20
PAUSE_S = 0.4  # the profile `aws` admits three connects a second
GOALS = {"p50": "< 300", "p95": "< 600"}

Progress = Callable[[str], None]


class Join(msgspec.Struct, frozen=True):
    """One viewer, in milliseconds since its createOffer; `open_to_frame` counts from the page's own start."""

    answer: float
    connected: float
    frame: float
    open_to_frame: float


class Run(msgspec.Struct, frozen=True):
    """The joins of one repetition: Chromium's in full, of aiortc the first frames."""

    chromium: tuple[Join, ...]
    aiortc: tuple[float, ...]


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure `runs` times 20 joins by each kind of viewer; a row holds the median over the runs."""
    if shutil.which("chromium") is None:
        raise CommandError("first-frame needs chromium: install the Debian package of that name", Exit.FAILURE)
    measured = []
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
            home = Path(folder)
            with running("demo", *FREE_PORTS, home=home / "demo") as demo:
                measured.append(await _measure(demo, home))
        frames = [join.frame for join in measured[-1].chromium]
        half, most = quantile(frames, 0.5), quantile(frames, 0.95)
        progress(f"run {number + 1} of {runs}: chromium p50 {half:.0f} ms, p95 {most:.0f} ms")
    return rows(measured)


async def _measure(demo: dict[str, Any], home: Path) -> Run:
    joins = await asyncio.to_thread(_join_in_chromium, demo, home / "chromium")
    return Run(tuple(joins), tuple(await _join_by_aiortc(demo)))


def _join_in_chromium(demo: dict[str, Any], home: Path) -> list[Join]:
    joins = []
    with chromium(home) as browser:
        for _ in range(JOINS):
            visit = Visit(browser, demo["http"])
            visit.page.goto(demo["viewer_url"])
            said = visit.wait("playing")
            joins.append(
                Join(
                    answer=float(said["answerMs"]),
                    connected=float(said["connectedMs"]),
                    frame=float(said["firstFrameMs"]),
                    open_to_frame=float(said["openToFrameMs"]),
                )
            )
            visit.page.wait_for_timeout(PAUSE_S * 1000)
            visit.context.close()
    return joins


async def _join_by_aiortc(demo: dict[str, Any]) -> list[float]:
    first_frames = []
    for number in range(JOINS):
        settings = ClientSettings(
            endpoint=demo["http"],
            token=demo["token"],
            channel_name=demo["channel_name"],
            role=Role.VIEWER,
            client_id=f"bench-{number}",
        )
        report = await watch(SignalingClient(settings), ViewerSettings(frames=1))
        first_frames.append(report.first_frame_ms)
        await asyncio.sleep(PAUSE_S)
    return first_frames


def rows(measured: Sequence[Run]) -> tuple[Row, ...]:
    """The four rows of these runs."""
    steps = [join for run in measured for join in run.chromium]
    answer = statistics.median(join.answer for join in steps)
    path = statistics.median(join.connected - join.answer for join in steps)
    frame = statistics.median(join.frame - join.connected for join in steps)
    page = statistics.median(join.open_to_frame for join in steps)
    where = (
        f"medians: {answer:.0f} ms to the answer (createOffer, two hops, the master), {path:.0f} ms to the path "
        f"(ICE, DTLS), {frame:.0f} ms to the frame (key frame, decoder, screen); page start to frame {page:.0f} ms"
    )
    worst = f"slowest of {len(steps)}: {max(join.frame for join in steps):.0f} ms"
    browsers = [[join.frame for join in run.chromium] for run in measured]
    programs = [list(run.aiortc) for run in measured]
    slowest = f"slowest of {sum(map(len, programs))}: {max(map(max, programs)):.0f} ms"
    return (
        _row("offer_to_first_frame_p50", browsers, 0.5, where),
        _row("offer_to_first_frame_p95", browsers, 0.95, worst),
        _row("offer_to_first_frame_p50_aiortc", programs, 0.5, "one Python process, joins and decodes"),
        _row("offer_to_first_frame_p95_aiortc", programs, 0.95, slowest),
    )


def _row(name: str, runs: Sequence[Sequence[float]], share: float, note: str) -> Row:
    ours = statistics.median(quantile(values, share) for values in runs)
    goal = GOALS["p50" if share == 0.5 else "p95"]
    return Row(name, round(ours, 1), None, None, "ms", None, goal, note)


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile: the smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
