"""First frame: from a viewer's open socket, through the real service in its own process, to the first picture shown.

What a viewer does before it can send its offer counts, unless it is done while the socket opens, as the page does it;
`open_to_frame` counts from the page's own start.

Joins come one after another, on loopback, while the master sends the test pattern at 1280x720 and 30 fps with a key
frame of its own each 10 s. Three kinds: nobody else watches; somebody does, so that the encoder is in the middle of
its 10 s; and no STUN or TURN server of the list answers, neither to the viewer nor to the master. The yardstick is the
same page, service and machine with the camera page of a second browser as the master: Chromium to Chromium. The first
page of each browser, which starts what it needs for media, is told apart.
"""

import asyncio
import contextlib
import json
import math
import shutil
import socket
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Browser, Route, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from app.bench import Ratio, Row
from app.exits import CommandError, Exit
from channels.names import Role
from channels.signaling.client import ClientSettings, SignalingClient
from media.viewer import ViewerSettings, watch
from tests.chromium import Visit, chromium, launched
from tests.running import FREE_PORTS, running

JOINS = 10
"""Of each kind in one repetition; the five that are the default make 50."""
PAUSE_S = 0.4  # the profile `aws` admits three connects a second
GOALS = {0.5: "<= 150", 0.95: "<= 300"}
SILENT_HOST = "127.0.0.2"

_KINDS = ("alone", "watched", "silent", "stock")
_YARDSTICK = "chromium_to_chromium"

Progress = Callable[[str], None]


class Join(msgspec.Struct, frozen=True):
    """One viewer, in milliseconds since it began to offer; `open_to_frame` counts from the page's own start."""

    answer: float
    connected: float
    frame: float
    open_to_frame: float


class Joins(msgspec.Struct):
    """Joins of one kind in one browser, one after another.

    `fresh` is the first frame of the browser's first page, which starts what it needs for media: in no other figure.
    `failures` says of each join without a picture what its page said.
    """

    done: list[Join] = []
    fresh: float | None = None
    failures: list[str] = []


class Run(msgspec.Struct, frozen=True):
    """The joins of one repetition: Chromium's in full, of `heliograph viewer` the first frames."""

    alone: Joins
    watched: Joins
    silent: Joins
    stock: Joins
    viewer: tuple[float, ...]


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure `runs` times 10 joins of each kind; a row holds a quantile over all joins of its kind."""
    if shutil.which("chromium") is None:
        raise CommandError("first-frame needs chromium: install the Debian package of that name", Exit.FAILURE)
    measured = []
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
            measured.append(await _measure(Path(folder)))
        told = ", ".join(f"{name} {_told(getattr(measured[-1], name))}" for name in _KINDS)
        progress(f"run {number + 1} of {runs}: chromium p50/p95 {told}")
    return rows(measured)


def _told(joins: Joins) -> str:
    frames = [join.frame for join in joins.done]
    times = f"{quantile(frames, 0.5):.0f}/{quantile(frames, 0.95):.0f} ms" if frames else "none"
    return times + _failed(joins.failures, len(frames))


def _failed(failures: Sequence[str], done: int) -> str:
    if not failures:
        return ""
    reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(failures).items())
    return f" ({len(failures)} of {done + len(failures)} joins failed: {reasons})"


async def _measure(home: Path) -> Run:
    with running("demo", *FREE_PORTS, home=home / "demo") as demo:
        alone, watched = await asyncio.to_thread(_join_heard, demo, home / "chromium")
        stock = await asyncio.to_thread(_join_stock, demo, home)
        viewer = await _join_by_viewer(demo)
    words = (*FREE_PORTS, "--turn-advertised-address", SILENT_HOST)
    with running("demo", *words, home=home / "silent-demo") as demo:
        silent = await asyncio.to_thread(_join_unheard, demo, home / "silent-chromium")
    return Run(alone, watched, silent, stock, tuple(viewer))


def _join_heard(demo: dict[str, Any], home: Path) -> tuple[Joins, Joins]:
    with chromium(home) as browser:
        alone = _join(browser, demo, demo["viewer_url"])
        other = Visit(browser, demo["http"])
        other.page.goto(demo["viewer_url"])
        beside = _outcome(other)
        if isinstance(beside, str):
            raise CommandError(
                f"first-frame: the viewer beside whom the others join got no picture: {beside}", Exit.FAILURE
            )
        return alone, _join(browser, demo, demo["viewer_url"])


def _join_stock(demo: dict[str, Any], home: Path) -> Joins:
    channel = f"#channel=camera&token={demo['token']}"
    with sync_playwright() as playwright, launched(playwright, home / "stock-master") as there:
        camera = Visit(there, demo["http"])
        camera.page.goto(f"{demo['http']}/master{channel}")
        camera.page.click("#start")
        camera.wait("open")
        with launched(playwright, home / "stock-viewer") as browser:
            return _join(browser, demo, f"{demo['http']}/viewer{channel}")


def _join_unheard(demo: dict[str, Any], home: Path) -> Joins:
    with chromium(home) as browser, silent_server(demo["turn"]) as stun:

        def with_stun(route: Route) -> None:
            answer = route.fetch()
            servers = json.loads(answer.text())
            servers["IceServerList"].insert(0, {"Uris": [stun]})
            route.fulfill(response=answer, json=servers)

        return _join(browser, demo, demo["viewer_url"], with_stun)


@contextlib.contextmanager
def silent_server(turn_uri: str) -> Iterator[str]:
    """Take the port that `turn:HOST:PORT` names on a host where nobody answers; gives it as a STUN URI."""
    port = int(turn_uri.partition("?")[0].rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((SILENT_HOST, port))
        yield f"stun:{SILENT_HOST}:{port}"


def _join(
    browser: Browser, demo: dict[str, Any], page: str, change_servers: Callable[[Route], None] | None = None
) -> Joins:
    joins = Joins()
    for number in range(1 + JOINS):
        visit = Visit(browser, demo["http"])
        if change_servers is not None:
            visit.page.route("**/v1/get-ice-server-config", change_servers)
        visit.page.goto(page)
        outcome = _outcome(visit)
        if isinstance(outcome, str):
            joins.failures.append(outcome)
        elif number == 0:
            joins.fresh = outcome.frame
        else:
            joins.done.append(outcome)
        visit.page.wait_for_timeout(PAUSE_S * 1000)
        visit.context.close()
    return joins


def _outcome(visit: Visit) -> Join | str:
    """What the page says once it plays; else, in words, what it says instead."""
    with contextlib.suppress(PlaywrightTimeoutError):
        visit.wait("playing")
    said = visit.said()
    try:
        return Join(
            answer=float(said["answerMs"]),
            connected=float(said["connectedMs"]),
            frame=float(said["firstFrameMs"]),
            open_to_frame=float(said["openToFrameMs"]),
        )
    except KeyError:  # it never played, or it has stopped again
        return " ".join(filter(None, (said.get("state", "no page"), said.get("failure"))))


async def _join_by_viewer(demo: dict[str, Any]) -> list[float]:
    first_frames = []
    for number in range(JOINS):
        settings = ClientSettings(
            endpoint=demo["http"],
            access=demo["token"],
            channel_name=demo["channel_name"],
            role=Role.VIEWER,
            client_id=f"bench-{number}",
        )
        report = await watch(SignalingClient(settings), ViewerSettings(frames=1))
        first_frames.append(report.first_frame_ms)
        await asyncio.sleep(PAUSE_S)
    return first_frames


def rows(measured: Sequence[Run]) -> tuple[Row, ...]:
    """Median and 95th percentile of each kind over all runs; ratios to the yardstick run by run."""
    found = [
        *(_beside_stock(row, measured, share) for row, share in zip(_kind(measured, "alone", ""), GOALS, strict=True)),
        *_kind(measured, "watched", "_mid_gop"),
        *_kind(measured, "silent", "_silent_stun"),
        *(msgspec.structs.replace(row, goal="-", is_met=None) for row in _kind(measured, "stock", f"_{_YARDSTICK}")),
    ]
    fresh = [run.alone.fresh for run in measured if run.alone.fresh is not None]
    if fresh:
        note = f"the first page of a browser, one a run, in no other row; slowest {max(fresh):.0f} ms"
        found.append(_row("offer_to_first_frame_p50_fresh_browser", fresh, 0.5, note, goal="-"))
    frames = [frame for run in measured for frame in run.viewer]
    found.append(_row("offer_to_first_frame_p50_viewer", frames, 0.5, "one Python process, joins and decodes"))
    found.append(_row("offer_to_first_frame_p95_viewer", frames, 0.95, _worst(frames)))
    return tuple(found)


def _kind(measured: Sequence[Run], name: str, suffix: str) -> Iterator[Row]:
    """Both quantiles of one kind; a join without a picture is told beside them, and misses the goal of both."""
    kind: list[Joins] = [getattr(run, name) for run in measured]
    joins = [join for each in kind for join in each.done]
    failed = _failed([reason for each in kind for reason in each.failures], len(joins))
    if not joins:
        raise CommandError(f"first-frame: no viewer got a picture{failed}", Exit.FAILURE)
    frames = [join.frame for join in joins]
    for share, told in zip(GOALS, (_steps(joins), _worst(frames)), strict=True):
        row = _row(f"offer_to_first_frame_p{share * 100:.0f}{suffix}", frames, share, told + failed)
        yield msgspec.structs.replace(row, is_met=False) if failed else row


def _beside_stock(row: Row, measured: Sequence[Run], share: float) -> Row:
    both = [run for run in measured if run.alone.done and run.stock.done]
    ours = [quantile([join.frame for join in run.alone.done], share) for run in both]
    theirs = [quantile([join.frame for join in run.stock.done], share) for run in both]
    peer = quantile([join.frame for run in measured for join in run.stock.done], share)
    return msgspec.structs.replace(row, peer=peer, peer_name=_YARDSTICK, ratio=Ratio.of(ours, theirs) if both else None)


def _steps(joins: Sequence[Join]) -> str:
    answer = statistics.median(join.answer for join in joins)
    path = statistics.median(join.connected - join.answer for join in joins)
    frame = statistics.median(join.frame - join.connected for join in joins)
    page = statistics.median(join.open_to_frame for join in joins)
    return (
        f"medians: {answer:.0f} ms to the answer (two hops, the master), {path:.0f} ms to the path "
        f"(ICE, DTLS), {frame:.0f} ms to the frame (key frame, decoder, screen); page start to frame {page:.0f} ms"
    )


def _worst(frames: Sequence[float]) -> str:
    return f"slowest of {len(frames)}: {max(frames):.0f} ms"


def _row(name: str, frames: Sequence[float], share: float, note: str, goal: str | None = None) -> Row:
    return Row(name, round(quantile(frames, share), 1), None, None, "ms", None, goal or GOALS[share], note)


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile: the smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
