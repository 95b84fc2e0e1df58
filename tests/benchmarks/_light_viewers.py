"""Cheap viewers in one process: real ICE, DTLS and SRTP, frames counted by the marker bit, nothing decoded.

They answer with a receiver report a second, as a browser does. `python -m tests.benchmarks._light_viewers N CODEC`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, is_rtcp

from media.peer import description
from media.peer.description import Description
from tests.benchmarks._pipe import Line, lines, write


class LightViewer:
    """One recvonly peer; `frames` and `lost` count the video stream only."""

    def __init__(self, client_id: str, codec: str, on_first_frame: Callable[[], None]) -> None:
        self.client_id = client_id
        self._on_first_frame = on_first_frame
        self.frames = self.packets = self.lost = self.audio_packets = 0
        self.suite = ""
        self._expected: int | None = None
        self._ssrcs: dict[int, int] = {}
        self._video_types: set[int] = set()
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        capabilities = RTCRtpReceiver.getCapabilities("video")
        assert capabilities is not None
        video = self._connection.addTransceiver("video", "recvonly")
        video.setCodecPreferences(sorted(capabilities.codecs, key=lambda known: known.mimeType != f"video/{codec}"))
        self._connection.addTransceiver("audio", "recvonly")
        for transceiver in self._connection.getTransceivers():
            transceiver.receiver.receive = self._start  # type: ignore[method-assign]
        self._dtls = video.receiver.transport
        self._dtls._handle_rtp_data = self._rtp_received  # type: ignore[method-assign]
        self._dtls._handle_rtcp_data = self._rtcp_received  # type: ignore[method-assign]

    async def offer(self) -> None:
        await self._connection.setLocalDescription(await self._connection.createOffer())
        sdp = self._connection.localDescription.sdp
        write(Line("SDP_OFFER", self.client_id, description.write_description(Description("offer", sdp))))

    async def answer(self, payload: bytes) -> None:
        answer = description.read_description(payload, "answer")
        await self._connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        types = self._connection.getTransceivers()[0]._codecs
        self._video_types = {codec.payloadType for codec in types if codec.payloadType and codec.name != "rtx"}

    async def report(self) -> None:
        """Once a second: what was heard of each stream."""
        while True:
            await asyncio.sleep(1)
            reports = [RtcpReceiverInfo(ssrc, 0, 0, highest, 0, 0, 0) for ssrc, highest in self._ssrcs.items()]
            if reports:
                await self._dtls._send_rtp(bytes(RtcpRrPacket(ssrc=1, reports=reports)))

    async def _start(self, parameters: object) -> None:
        self.suite = (self._dtls._ssl.get_selected_srtp_profile() if self._dtls._ssl else b"").decode()

    async def _rtp_received(self, data: bytes, arrival_time_ms: int) -> None:
        assert not is_rtcp(data)
        sequence, ssrc = int.from_bytes(data[2:4], "big"), int.from_bytes(data[8:12], "big")
        self._ssrcs[ssrc] = sequence
        if data[1] & 0x7F not in self._video_types:
            self.audio_packets += 1
            return
        self.packets += 1
        self.frames += data[1] >> 7
        if self.frames == 1 and data[1] >> 7:
            self._on_first_frame()
        if self._expected is not None:
            self.lost += (sequence - self._expected) & 0xFFFF
        self._expected = (sequence + 1) & 0xFFFF

    async def _rtcp_received(self, data: bytes) -> None:
        return


async def main() -> None:
    missing = int(sys.argv[1])

    def first_frame() -> None:
        nonlocal missing
        missing -= 1
        if missing == 0:
            write(Line("READY"))

    viewers = {f"v{n}": LightViewer(f"v{n}", sys.argv[2], first_frame) for n in range(missing)}
    async with asyncio.TaskGroup() as group:
        for viewer in viewers.values():
            await viewer.offer()
            group.create_task(viewer.report())
        async for line in lines():
            if line.type == "SDP_ANSWER":
                await viewers[line.client_id].answer(line.payload)
            elif line.type == "COUNT":
                counts = [
                    {
                        "frames": v.frames,
                        "lost": v.lost,
                        "packets": v.packets,
                        "audio": v.audio_packets,
                        "suite": v.suite,
                    }
                    for v in viewers.values()
                ]
                write(Line("COUNTED", payload=json.dumps(counts).encode()))
        os._exit(0)  # the benchmark is gone or done: nothing here is worth an orderly end


if __name__ == "__main__":
    asyncio.run(main())
