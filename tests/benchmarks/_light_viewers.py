"""Cheap viewers in one process: real ICE, DTLS and SRTP, pictures counted by the marker bit, nothing decoded.

The first picture of each comes by aiortc's whole way and is decrypted; from then on the sockets are read here, by the
headers, which SRTP leaves open, with the kernel's time of arrival. A sender report says which time of capture an RTP
time stands for. Each answers with a receiver report a second, as a browser does.
`python -m tests.benchmarks._light_viewers N CODEC [audio]`.
"""

import asyncio
import contextlib
import math
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCRtpReceiver,
    RTCSessionDescription,
    rtcdtlstransport,
)
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, is_rtcp
from aiortc.sdp import candidate_from_sdp

from media.peer import description
from media.peer.description import Description
from media.peer.identity import Identity, open_connection
from tests.benchmarks._pipe import Line, lines, write

RECEIVE_BYTES = 4 << 20
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
NTP_EPOCH_S = 2_208_988_800
SUITE = b"SRTP_AES128_CM_SHA1_80"
"""What browsers take; aiortc and GStreamer, left to themselves, would agree on different ones."""
KEPT_PICTURES = 3_000
SAME_PICTURE_S = 0.008
"""Captures less apart than this are of one picture."""


class Count(msgspec.Struct):
    """What one viewer has received since its start; packets of picture and sound."""

    frames: int
    lost: int
    packets: int
    audio: int
    repeated: int
    suite: str


class Answer(msgspec.Struct):
    """Counts of all viewers, and seconds from capture to the last packet of the last viewer, picture by picture."""

    counts: list[Count]
    latencies_s: list[float]


class LightViewer:
    """One recvonly peer; `frames` and `lost` count the video stream only."""

    def __init__(self, client_id: str, codec: str, has_audio: bool, on_first_frame: Callable[[], None]) -> None:
        self.client_id = client_id
        self._on_first_frame = on_first_frame
        self.count = Count(0, 0, 0, 0, 0, "")
        self.pictures: deque[tuple[float, float]] = deque(maxlen=KEPT_PICTURES)
        """Time of capture and of arrival of the last packet, both of the wall clock."""
        self._expected: int | None = None
        self._highest: dict[int, int] = {}
        self._sender_reports: dict[int, tuple[int, int, float]] = {}
        self._video_types: set[int] = set()
        self._connection = open_connection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE), Identity.new()
        )
        capabilities = RTCRtpReceiver.getCapabilities("video")
        assert capabilities is not None
        video = self._connection.addTransceiver("video", "recvonly")
        video.setCodecPreferences(sorted(capabilities.codecs, key=lambda known: known.mimeType != f"video/{codec}"))
        if has_audio:
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

    async def candidate(self, payload: bytes) -> None:
        found = msgspec.json.decode(payload)
        candidate = candidate_from_sdp(found["candidate"].removeprefix("candidate:"))
        candidate.sdpMid = found.get("sdpMid")
        candidate.sdpMLineIndex = found.get("sdpMLineIndex", 0)
        await self._connection.addIceCandidate(candidate)

    async def report(self) -> None:
        """Once a second: what was heard of each stream."""
        while True:
            await asyncio.sleep(1)
            reports = [self._report(ssrc, highest) for ssrc, highest in self._highest.items()]
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(reports), 31):
                    await self._dtls._send_rtp(bytes(RtcpRrPacket(ssrc=1, reports=reports[start : start + 31])))

    def _report(self, ssrc: int, highest: int) -> RtcpReceiverInfo:
        ntp, _, came_at = self._sender_reports.get(ssrc, (0, 0, 0.0))
        delay = round((time.time() - came_at) * 65536) if ntp else 0
        return RtcpReceiverInfo(ssrc, 0, 0, highest, 0, ntp >> 16 & 0xFFFFFFFF, delay)

    async def _start(self, parameters: object) -> None:
        self.count.suite = (self._dtls._ssl.get_selected_srtp_profile() if self._dtls._ssl else b"").decode()

    async def _rtp_received(self, data: bytes, arrival_time_ms: int) -> None:
        assert not is_rtcp(data)
        self._take(data, time.time())
        if self.count.frames == 1 and data[1] >> 7:
            self._read_by_ourselves()
            self._on_first_frame()

    def _take(self, data: bytes, arrived_at: float) -> None:
        marked, sequence, timestamp, ssrc = struct.unpack_from("!xBHLL", data)
        count = self.count
        if marked & 0x7F not in self._video_types:
            count.audio += 1
            self._highest[ssrc] = sequence
            return
        ahead = 1 if self._expected is None else (sequence - self._expected + 1) & 0xFFFF
        if ahead == 0 or ahead > 0x8000:
            count.repeated += 1
            return
        self._highest[ssrc] = sequence
        count.packets += 1
        count.lost += ahead - 1
        self._expected = (sequence + 1) & 0xFFFF
        if marked >> 7:
            count.frames += 1
            known = self._sender_reports.get(ssrc)
            if known is not None:
                behind = (known[1] - timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
                self.pictures.append((known[0] / (1 << 32) - NTP_EPOCH_S - behind / 90_000, arrived_at))

    async def _rtcp_received(self, data: bytes) -> None:
        if data[1] == 200:  # RFC 3550, 6.4.1: a sender report comes first
            ssrc, ntp, rtp = struct.unpack_from("!4xLQL", data)
            self._sender_reports[ssrc] = (ntp, rtp, time.time())

    def _read_by_ourselves(self) -> None:
        """Take the place of asyncio's reader, which hands over one datagram a round and knows no time of arrival."""
        protocol: Any = self._dtls.transport._connection._nominated[1].protocol
        descriptor = protocol.transport.get_extra_info("socket").fileno()
        mine = socket.socket(fileno=os.dup(descriptor))
        mine.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        loop: Any = asyncio.get_running_loop()
        loop._remove_reader(descriptor)
        loop.add_reader(mine, self._readable, mine, protocol)

    def _readable(self, mine: socket.socket, protocol: Any) -> None:
        for _ in range(64):
            try:
                data, [(_, _, stamp)], _, address = mine.recvmsg(2048, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if 128 <= data[0] < 192 and not 192 <= data[1] < 224:  # RFC 7983; RFC 5761, 4
                seconds, nanoseconds = struct.unpack("qq", stamp)
                self._take(data, seconds + nanoseconds / 1e9)
            else:
                protocol.datagram_received(data, address)


def latencies(viewers: Iterable[LightViewer]) -> list[float]:
    """Seconds from capture to the last packet of the last viewer, for each picture; what was kept is forgotten."""
    found = sorted(picture for viewer in viewers for picture in viewer.pictures)
    for viewer in viewers:
        viewer.pictures.clear()
    delays: list[float] = []
    began_at = -math.inf
    for captured_at, arrived_at in found:
        if captured_at - began_at > SAME_PICTURE_S:
            began_at = captured_at
            delays.append(0.0)
        delays[-1] = max(delays[-1], arrived_at - began_at)
    return delays


async def main() -> None:
    profiles = rtcdtlstransport.SRTP_PROFILES
    profiles[:] = [profile for profile in profiles if profile.openssl_profile == SUITE]
    number, codec, has_audio = int(sys.argv[1]), sys.argv[2], "audio" in sys.argv[3:]
    missing = number

    def first_frame() -> None:
        nonlocal missing
        missing -= 1
        if missing == 0:
            write(Line("READY"))

    viewers = {f"v{n}": LightViewer(f"v{n}", codec, has_audio, first_frame) for n in range(number)}
    async with asyncio.TaskGroup() as group:
        for viewer in viewers.values():
            await viewer.offer()
            group.create_task(viewer.report())
        async for line in lines():
            if line.type == "SDP_ANSWER":
                await viewers[line.client_id].answer(line.payload)
            elif line.type == "ICE_CANDIDATE":
                await viewers[line.client_id].candidate(line.payload)
            elif line.type == "COUNT":
                answer = Answer([viewer.count for viewer in viewers.values()], latencies(viewers.values()))
                write(Line("COUNTED", payload=msgspec.json.encode(answer)))
        os._exit(0)  # the benchmark is gone or done: nothing here is worth an orderly end


if __name__ == "__main__":
    asyncio.run(main())
