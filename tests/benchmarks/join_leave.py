"""Viewers that join and leave a master over and over: what of each stays behind in memory and descriptors.

A cycle is offer, answer, ICE, DTLS, a data channel, the first packets of picture and sound, and the end: most viewers
close, every twentieth vanishes without a word. The master is a process of its own and keeps one viewer all the time.
"""

import asyncio
import itertools
import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCDtlsTransport, RTCPeerConnection, RTCSessionDescription

from app.bench import Row
from media.peer import attach, description
from media.peer.description import Description
from media.rtp.receive import Incoming
from tests.benchmarks._pipe import Line, decode, encode

CYCLES = 1000
WARM_UP = 50
"""Cycles before the first figure that counts: what is made once, and room for as many viewers as are there at once."""
AT_ONCE = 2
STEPS = 5
VANISHES = 20
SOURCE = "test?size=320x180&fps=30"
GONE_S = 7.0
"""After this long those that vanished have been noticed."""

Progress = Callable[[str], None]


class Sample(msgspec.Struct, frozen=True):
    """What the master held after so many cycles."""

    cycles: int
    resident_bytes: int
    descriptors: int
    threads: int


class Master:
    """The master's process; each viewer waits for its own answer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[str, asyncio.Future[bytes]] = {}

    async def run(self) -> None:
        """Hand answers to who waits for them; candidates are in the answers."""
        assert self._process.stdout is not None
        while text := await self._process.stdout.readline():
            line = decode(text)
            if line.type == "SDP_ANSWER" and line.client_id in self._answers:
                self._answers.pop(line.client_id).set_result(line.payload)

    async def offer(self, client_id: str, sdp: str) -> str:
        """Send an offer and wait for its answer."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[client_id] = answer
        assert self._process.stdin is not None
        payload = description.write_description(Description("offer", sdp))
        self._process.stdin.write(encode(Line("SDP_OFFER", client_id, payload)) + b"\n")
        return description.read_description(await answer, "answer").sdp

    def sample(self, cycles: int) -> Sample:
        """Look at the process from outside."""
        folder = Path(f"/proc/{self._process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        descriptors, threads = (len(list((folder / name).iterdir())) for name in ("fd", "task"))
        return Sample(cycles, pages * os.sysconf("SC_PAGE_SIZE"), descriptors, threads)


@asynccontextmanager
async def running_master() -> AsyncIterator[Master]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks._media_master", SOURCE, "1", stdin=pipe, stdout=pipe, limit=1 << 20
    )
    master = Master(process)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(master.run())
            yield master
            task.cancel()
    finally:
        process.kill()
        await process.wait()


async def join(master: Master, client_id: str) -> RTCPeerConnection:
    """Join, and come back when packets of picture and sound have come and the data channel has answered."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    arrived = [asyncio.Event() for _ in range(3)]
    for kind, event in zip(("video", "audio"), arrived, strict=False):
        transceiver = connection.addTransceiver(kind, "recvonly")

        def start(incoming: Incoming, dtls: RTCDtlsTransport, came: asyncio.Event = event) -> None:
            attach.hear_rtp(dtls, incoming.payload_types, lambda data: came.set())

        attach.replace_receiver(transceiver, start)
    channel = connection.createDataChannel("control")
    channel.on("open", lambda: channel.send('{"type": "ping"}'))
    channel.on("message", lambda _: arrived[2].set())
    await connection.setLocalDescription(await connection.createOffer())
    async with asyncio.timeout(30):
        sdp = await master.offer(client_id, connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        for event in arrived:
            await event.wait()
    return connection


async def leave(connection: RTCPeerConnection, *, is_silent: bool) -> None:
    """Close, or vanish: without the goodbyes of RTCP, SCTP and DTLS."""
    if is_silent:
        dtls = connection.getTransceivers()[0].receiver.transport

        async def nothing(data: bytes) -> None:
            return

        dtls.transport._send = nothing  # type: ignore[method-assign]
    await connection.close()


async def measure(cycles: int, steps: int, progress: Progress) -> list[Sample]:
    """Samples with one viewer alone, after the warm-up, and after each of the steps into which the cycles are parted.

    Before each sample those that vanished have been noticed.
    """
    samples: list[Sample] = []
    async with running_master() as master:
        stays = await join(master, "stays")
        for until in (0, *(WARM_UP + cycles * step // steps for step in range(steps + 1))):
            numbers = itertools.count(samples[-1].cycles if samples else 0)
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(_come_and_go(master, numbers, until))
            await asyncio.sleep(GONE_S)
            samples.append(master.sample(until))
            progress(told(samples[-1]))
        await stays.close()
    return samples


async def _come_and_go(master: Master, numbers: Iterator[int], until: int) -> None:
    for number in numbers:
        if number >= until:
            return
        connection = await join(master, f"v{number}")
        await leave(connection, is_silent=number % VANISHES == VANISHES - 1)


def told(sample: Sample) -> str:
    """One line for a person."""
    return (
        f"{sample.cycles} cycles: {sample.resident_bytes / 1e6:.1f} MB, "
        f"{sample.descriptors} descriptors, {sample.threads} threads"
    )


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Repeat 1,000 cycles `runs` times, each with a new master."""
    measured = [await measure(CYCLES, STEPS, progress) for _ in range(runs)]

    def row(name: str, figure: Callable[[Sample], float], since: int, unit: str, goal: str, note: str) -> Row:
        grown = statistics.median(figure(samples[-1]) - figure(samples[since]) for samples in measured)
        return Row(name, round(grown, 2), None, None, unit, None, goal, note)

    def resident(sample: Sample) -> float:
        return sample.resident_bytes / 1e6

    warm = f"after {WARM_UP} cycles of warm-up"
    return (
        row("resident_growth_1000_cycles", resident, 1, "MB", "< 5", warm),
        row("resident_growth_from_one_viewer", resident, 0, "MB", "", "warm-up included"),
        row("descriptors_more", lambda sample: sample.descriptors, 1, "", "0", warm),
        row("threads_more", lambda sample: sample.threads, 1, "", "0", warm),
    )
