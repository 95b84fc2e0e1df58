"""What it costs to serve many viewers, beside stock aiortc and GStreamer's webrtcbin in the same run.

A sender has one core, its viewers another. They receive 1280x720 at 30 fps and 2 Mbit/s over real ICE, DTLS and SRTP,
count pictures by the marker bit, answer with receiver reports and decode nothing. History, RTX, sender reports and
receiver reports are on everywhere. A run takes about two minutes.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from app.bench import Ratio, Row
from media.encoders.encoder import EncoderSettings
from tests.benchmarks import _media_file, encode_quality
from tests.benchmarks._media_run import ROOT, Load, Times, load, ours

SOURCE = "test:?size=1280x720&fps=30"
SYSTEM_PYTHON = "/usr/bin/python3"
FPS = 30
PSNR_S = 3.0
TIMES = Times(warm_up_s=1.5, measure_s=4.0)
HUNDRED = Times(warm_up_s=4.0, measure_s=5.0)
CHANNELS = 10

Progress = Callable[[str], None]


class Case(msgspec.Struct, frozen=True):
    """One sender with a number of viewers; `is_once`: in the first run only."""

    name: str
    command: tuple[str, ...]
    viewers: int
    times: Times = TIMES
    is_once: bool = False


class Loads:
    """All measurements by the name of the case."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Load]] = {}

    def add(self, name: str, measured: Load) -> None:
        self._by_name.setdefault(name, []).append(measured)

    def of(self, name: str) -> list[Load]:
        return self._by_name.get(name, [])

    def cores(self, name: str) -> list[float]:
        return [measured.cores for measured in self.of(name)]

    def delivered(self, name: str) -> list[float]:
        return [measured.cores_delivered for measured in self.of(name)]

    def note(self, name: str) -> str:
        """How it was delivered."""
        return f"{spread(self.cores(name))} core, {_delivery(self.of(name))}"

    def peer_note(self, name: str) -> str:
        """The same of a yardstick."""
        found = self.of(name)
        return f"; {name.replace('_', ' ')}: {spread(self.cores(name))} core, {_delivery(found)}" if found else ""


def _delivery(loads: Sequence[Load]) -> str:
    lost, busy = sum(one.lost for one in loads), statistics.median(one.viewer_cores for one in loads)
    return f"{min(one.fps for one in loads):.1f} fps or more, {lost} packets lost, receivers {busy:.2f} core"


def spread(figures: Sequence[float]) -> str:
    """Least, median and greatest."""
    return "-".join(f"{figure:.3g}" for figure in (min(figures), statistics.median(figures), max(figures)))


def cases(file: Path) -> tuple[Case, ...]:
    """What one run measures, yardsticks beside what they are for."""
    stock = (sys.executable, "-m", "tests.benchmarks._media_stock", SOURCE)
    native = (SYSTEM_PYTHON, str(ROOT / "tests/benchmarks/_webrtcbin.py"), str(file))
    passed = ours(f"file:{file}")
    return (
        *(Case(f"encode_{viewers}", ours(SOURCE), viewers) for viewers in (1, 10, 3, 30)),
        Case("stock_10", stock, 10),
        *(Case(f"stock_{viewers}", stock, viewers, is_once=True) for viewers in (1, 3)),
        Case("passthrough_10", passed, 10),
        Case("passthrough_10_without_offload", (*passed, "without-offload"), 10),
        Case("webrtcbin_10", native, 10),
        *(
            case
            for viewers in (1, 3, 30)
            for case in (
                Case(f"passthrough_{viewers}", passed, viewers),
                Case(f"webrtcbin_{viewers}", native, viewers),
            )
        ),
        Case("passthrough_100", ours(f"file:{file}", CHANNELS), 100, HUNDRED),
    )


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure every case `runs` times."""
    loads = Loads()
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
        file = Path(folder) / "media.mp4"
        await asyncio.to_thread(_media_file.make, file)
        has_native = await _has_webrtcbin()
        for number in range(1, runs + 1):
            for case in cases(file):
                if (case.is_once and number > 1) or (case.command[0] == SYSTEM_PYTHON and not has_native):
                    continue
                measured = await _load(case, progress)
                loads.add(case.name, measured)
                progress(f"run {number} of {runs}: {case.name} {measured.cores:.3f} core, {measured.fps:.1f} fps")
    progress("picture quality" + ("" if has_native else "; no webrtcbin: its Debian packages are missing"))
    quality = next(row for row in await asyncio.to_thread(encode_quality.measure, PSNR_S) if "x264" in row.name)
    return rows(loads, "unknown" if quality.psnr_db is None else f"{quality.psnr_db:.1f} dB")


async def _load(case: Case, progress: Progress) -> Load:
    """Measure, once more where not all viewers came up: a busy machine loses handshakes."""
    try:
        return await load(case.command, case.viewers, case.times)
    except* TimeoutError:
        progress(f"{case.name}: not all viewers came up, once more")
    return await load(case.command, case.viewers, case.times)


async def _has_webrtcbin() -> bool:
    program = (
        "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None); import sys; "
        "sys.exit(not all(map(Gst.ElementFactory.find, ('webrtcbin', 'nicesink', 'h264parse', 'rtph264pay'))))"
    )
    quiet = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(SYSTEM_PYTHON, "-c", program, stdout=quiet, stderr=quiet)
    except OSError:
        return False
    return await process.wait() == 0


def rows(loads: Loads, psnr: str) -> tuple[Row, ...]:
    """What is asked for first, then the table by the number of viewers."""
    suite = loads.of("encode_10")[0].suite
    how = f"x264 {EncoderSettings().preset}, PSNR {psnr}, {suite}, UDP segmentation offload; no sound; "
    ten = loads.of("encode_10")
    return (
        Row(
            name="encode_10_over_encode_1",
            **_against(loads.cores("encode_10"), loads.cores("encode_1"), "1 viewer"),
            unit="cores",
            goal="ratio <= 1.15, ours <= 0.25",
            note=how + loads.note("encode_10"),
        ),
        Row(
            name="encode_10_vs_stock",
            **_against(loads.delivered("encode_10"), loads.delivered("stock_10"), "stock aiortc"),
            unit="cores per stream that arrives at 30 fps",
            goal="ratio <= 0.04",
            note=f"aiortc's x264 medium for each viewer at the same rate{loads.peer_note('stock_10')}",
        ),
        Row(
            name="passthrough_10_cores",
            **_against(loads.cores("passthrough_10"), loads.cores("passthrough_10_without_offload"), "without offload"),
            unit="cores",
            goal="ours <= 0.04",
            note=loads.note("passthrough_10"),
        ),
        _native_row(loads, 10, "passthrough_10_vs_webrtcbin", "ratio <= 1"),
        Row(
            name="passthrough_100_cores",
            ours=statistics.median(loads.cores("passthrough_100")),
            peer=None,
            peer_name=None,
            unit="cores",
            ratio=None,
            goal="ours <= 1",
            note=f"{CHANNELS} channels in one process; {loads.note('passthrough_100')}",
        ),
        Row(
            name="capture_to_last_packet_p95_ms",
            **_against([one.p95_ms for one in ten], [one.p95_ms for one in loads.of("passthrough_10")], "passed on"),
            unit="ms",
            goal="ours <= 15",
            note=(
                f"last packet of the last of ten viewers, by the kernel's time of arrival; p95 "
                f"{spread([one.p95_ms for one in ten])}, p50 {spread([one.p50_ms for one in ten])}"
            ),
        ),
        *(_encode_row(loads, viewers) for viewers in (1, 3, 30)),
        *(_native_row(loads, viewers, f"passthrough_{viewers}", "") for viewers in (1, 3, 30)),
    )


def _against(mine: Sequence[float], theirs: Sequence[float], peer_name: str) -> dict[str, object]:
    found = {"ours": statistics.median(mine), "peer": None, "peer_name": None, "ratio": None}
    if theirs:
        together = Ratio.of(mine[: len(theirs)], theirs)
        found |= {"peer": statistics.median(theirs), "peer_name": peer_name, "ratio": together}
    return found


def _encode_row(loads: Loads, viewers: int) -> Row:
    mine, stock = f"encode_{viewers}", f"stock_{viewers}"
    return Row(
        name=mine,
        **_against(loads.delivered(mine), loads.delivered(stock), "stock aiortc"),
        unit="cores per stream that arrives at 30 fps",
        goal="",
        note=loads.note(mine) + loads.peer_note(stock),
    )


def _native_row(loads: Loads, viewers: int, name: str, goal: str) -> Row:
    mine, native = f"passthrough_{viewers}", f"webrtcbin_{viewers}"
    whole = " (GStreamer runs a whole RTP session in about three threads for each viewer)" if goal else ""
    return Row(
        name=name,
        **_against(loads.cores(mine), loads.cores(native), "webrtcbin"),
        unit="cores",
        goal=goal,
        note=loads.note(mine) + loads.peer_note(native) + whole,
    )


if __name__ == "__main__":
    for row in asyncio.run(run(1, print)):
        print(row)
