"""What one encode for many costs: CPU of a master process with one viewer and with ten, all really receiving.

The viewers live in another process, count frames by the marker bit and decode nothing. The unit is CPU-seconds of the
master process per second, from /proc.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from app.bench import Ratio, Row
from media.encoders.encoder import EncoderSettings
from tests.benchmarks import encode_quality
from tests.benchmarks._pipe import LINE_LIMIT, Line, decode, encode
from tests.benchmarks._processor import cpu_seconds

ROOT = Path(__file__).parent.parent.parent
SOURCE = "test?size=1280x720&fps=30"
FPS = 30
WARM_UP_S = 3.0
MEASURE_S = 10.0
CONNECT_LIMIT_S = 30.0
PSNR_S = 3.0


class Count(msgspec.Struct):
    """What one viewer has received since its start."""

    frames: int
    lost: int
    packets: int
    audio: int
    suite: str


class Load(msgspec.Struct, frozen=True):
    """One measurement: cores of the master and of all its viewers, least frames per second, lost packets, suite."""

    cores: float
    viewer_cores: float
    fps: float
    lost: int
    suite: str


@asynccontextmanager
async def child(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process of the checkout, ended by the end of its input, or killed a second later."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *words,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class Pair:
    """A master and its viewers, and the signaling between them."""

    def __init__(self, master: asyncio.subprocess.Process, viewers: asyncio.subprocess.Process) -> None:
        self.master = master
        self.viewers = viewers
        self.ready = asyncio.Event()
        self._counts: asyncio.Queue[list[Count]] = asyncio.Queue(1)

    async def relay(self, source: asyncio.subprocess.Process, target: asyncio.subprocess.Process) -> None:
        """Carry every line across; counts stay here."""
        assert source.stdout is not None
        assert target.stdin is not None
        while text := await source.stdout.readline():
            line = decode(text)
            if line.type == "COUNTED":
                await self._counts.put(msgspec.json.decode(line.payload, type=list[Count]))
            elif line.type == "READY":
                self.ready.set()
            else:
                target.stdin.write(text)
        raise RuntimeError("a process of the benchmark ended by itself")

    async def count(self) -> list[Count]:
        """What each viewer has received by now."""
        assert self.viewers.stdin is not None
        self.viewers.stdin.write(encode(Line("COUNT")) + b"\n")
        return await self._counts.get()


async def load(viewers: int, codec: str) -> Load:
    """Measure one master with that many viewers."""
    async with (
        child("tests.benchmarks._media_master", SOURCE) as master,
        child("tests.benchmarks._light_viewers", str(viewers), codec) as watching,
        asyncio.TaskGroup() as group,
    ):
        pair = Pair(master, watching)
        relays = [
            group.create_task(pair.relay(master, watching)),
            group.create_task(pair.relay(watching, master)),
        ]
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await pair.ready.wait()
        await asyncio.sleep(WARM_UP_S)
        result = await _measure(pair)
        for relay in relays:
            relay.cancel()
    return result


async def _measure(pair: Pair) -> Load:
    before = await pair.count()
    started, cpu, viewer_cpu = time.monotonic(), cpu_seconds(pair.master.pid), cpu_seconds(pair.viewers.pid)
    await asyncio.sleep(MEASURE_S)
    spent, viewer_spent = cpu_seconds(pair.master.pid) - cpu, cpu_seconds(pair.viewers.pid) - viewer_cpu
    after = await pair.count()
    seconds = time.monotonic() - started
    return Load(
        cores=spent / seconds,
        viewer_cores=viewer_spent / seconds,
        fps=min((late.frames - early.frames) / seconds for early, late in zip(before, after, strict=True)),
        lost=sum(late.lost - early.lost for early, late in zip(before, after, strict=True)),
        suite=after[0].suite,
    )


async def run(runs: int, progress: Callable[[str], None]) -> tuple[Row, ...]:
    """Measure `runs` pairs of one and ten viewers."""
    ones, tens = [], []
    for number in range(1, runs + 1):
        for viewers, loads in ((1, ones), (10, tens)):
            measured = await load(viewers, "H264")
            loads.append(measured)
            progress(f"run {number}: {viewers} viewers {measured.cores:.3f} core, {measured.fps:.1f} fps")
    progress("picture quality")
    quality = next(row for row in await asyncio.to_thread(encode_quality.measure, PSNR_S) if "x264" in row.name)
    one, ten = [load.cores for load in ones], [load.cores for load in tens]
    psnr = "unknown" if quality.psnr_db is None else f"{quality.psnr_db:.1f} dB"
    everybody = ones + tens
    note = (
        f"x264 {EncoderSettings().preset}, 1280x720, 2 Mbit/s and Opus; PSNR {psnr}; "
        f"least fps of any viewer {min(load.fps for load in tens):.1f} of {FPS} with 10, "
        f"{min(load.fps for load in ones):.1f} with 1; {sum(load.lost for load in everybody)} packets lost; "
        f"{everybody[0].suite}, history, RTX, SR and RR on, no segmentation offload; "
        f"ten viewers' process {statistics.median(load.viewer_cores for load in tens):.2f} core beside it"
    )
    return (
        Row(
            name="encode_10_over_encode_1",
            ours=statistics.median(ten),
            peer=statistics.median(one),
            peer_name="1 viewer",
            unit="cores",
            ratio=Ratio.of(ten, one),
            goal="ratio <= 1.3, ours <= 0.35",
            note=note,
        ),
    )


if __name__ == "__main__":
    print(asyncio.run(run(1, print)))
