"""Viewers that are processes of their own, ended by SIGKILL: how soon their slot is free."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from channels.ice import IceServer
from media.fanout import FanOut
from media.peer import description
from media.peer.peer import End, Outside, Peer, PeerSettings
from tests.measured import Row
from tests.media.stage import running_feed

VIEWER = """
import asyncio, json, sys
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole
async def main(is_mute):
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transport = connection.addTransceiver("video", "recvonly").receiver.transport
    sink = MediaBlackhole()
    connection.on("track", sink.addTrack)
    async def nothing(data): pass
    if is_mute: transport._send_rtp = nothing
    await connection.setLocalDescription(await connection.createOffer())
    print(json.dumps(connection.localDescription.sdp), flush=True)
    sdp = json.loads(sys.stdin.readline())
    await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    await sink.start()
    await asyncio.Event().wait()
asyncio.run(main(sys.argv[1] == "mute"))
"""


class Watching:
    """A viewer in a process, connected to a peer of ours; `ended` is done when the peer has ended."""

    def __init__(self, process: asyncio.subprocess.Process, peer: Peer) -> None:
        self.process = process
        self.peer = peer
        self.ended = asyncio.Event()

    async def run(self) -> None:
        await self.peer.run()
        self.ended.set()


@asynccontextmanager
async def watching(kind: str, settings: PeerSettings) -> AsyncIterator[Watching]:
    """`mute` never sends RTCP, `reporting` does."""
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def no_servers() -> tuple[IceServer, ...]:
        return ()

    async def signal(kind: str, payload: bytes) -> None:
        if kind == "SDP_ANSWER":
            answers.put_nowait(payload)

    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", VIEWER, kind, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    offer = description.Description("offer", json.loads(await process.stdout.readline()))
    async with running_feed() as feed, asyncio.TaskGroup() as group:
        viewer = Watching(process, Peer("v1", offer, Outside(FanOut(feed), no_servers, signal), settings))
        group.create_task(viewer.run())
        answer = description.read_description(await answers.get(), "answer")
        process.stdin.write(json.dumps(answer.sdp).encode() + b"\n")
        assert await viewer.peer.connected()
        try:
            yield viewer
        finally:
            viewer.peer.stop()
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mute", "reporting"])
async def test_a_viewer_killed_by_sigkill_leaves(kind: str, row: Row) -> None:
    async with watching(kind, PeerSettings()) as viewer:
        if kind == "reporting":
            async with asyncio.timeout(60):
                while viewer.peer.stats.heard_at is None:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.01)
        viewer.process.kill()
        killed_at = time.monotonic()
        async with asyncio.timeout(60):
            await viewer.ended.wait()
        assert viewer.peer.end is End.SILENCE
        row("free after", time.monotonic() - killed_at, goal=8.0)


@pytest.mark.slow
async def test_a_viewer_that_never_reports_but_answers_checks_stays() -> None:
    async with watching("mute", PeerSettings(silence_s=5.0)) as viewer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(12):
                await viewer.ended.wait()
        assert viewer.peer.stats.heard_at is None
