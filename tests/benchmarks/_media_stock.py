"""The yardstick: stock aiortc, a connection and an encoder for each viewer, pictures of our test pattern by MediaRelay.

`python -m tests.benchmarks._media_stock SOURCE`; signaling as in `_pipe.py`.
"""

import asyncio
import os
import sys
import threading
import time

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import h264
from aiortc.contrib.media import MediaRelay

from media.peer import description
from media.peer.description import Description
from media.sources.open import open_source
from media.sources.source import Picture
from tests.benchmarks._pipe import Line, lines, write

BITRATE_BPS = 2_000_000
h264.DEFAULT_BITRATE = BITRATE_BPS  # type: ignore[misc]  # as every other sender here


class SourceTrack(MediaStreamTrack):
    """The newest picture of one of our sources, which plays in a thread."""

    kind = "video"

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._frames: asyncio.Queue[av.VideoFrame] = asyncio.Queue(1)
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._play, args=(uri,), daemon=True).start()

    def _play(self, uri: str) -> None:
        started = time.monotonic()

        def pace(time_s: float) -> bool:
            time.sleep(max(0.0, started + time_s - time.monotonic()))
            return True

        for item in open_source(uri).frames(pace):
            if isinstance(item, Picture):
                item.frame.pts = round(item.time_s * 90_000)
                item.frame.time_base = h264.VIDEO_TIME_BASE
                self._loop.call_soon_threadsafe(self._put, item.frame)

    def _put(self, frame: av.VideoFrame) -> None:
        if self._frames.full():
            self._frames.get_nowait()
        self._frames.put_nowait(frame)

    async def recv(self) -> av.VideoFrame:
        return await self._frames.get()


async def main() -> None:
    relay, track = MediaRelay(), SourceTrack(sys.argv[1])
    connections: dict[str, RTCPeerConnection] = {}
    async for line in lines():
        if line.type != "SDP_OFFER":
            continue
        offer = description.read_description(line.payload, "offer")
        connection = connections[line.client_id] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTrack(relay.subscribe(track, buffered=False))  # with its queue it takes memory without end
        await connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = Description("answer", connection.localDescription.sdp)
        write(Line("SDP_ANSWER", line.client_id, description.write_description(answer)))
    os._exit(0)  # the benchmark is gone or done: nothing here is worth an orderly end


if __name__ == "__main__":
    asyncio.run(main())
