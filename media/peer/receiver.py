"""The receiving side of a viewer: one offer, its answer, and pictures counted. aiortc negotiates, we receive."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol

from aioice import Candidate as IceCandidate
from aiortc import (
    RTCIceCandidate,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.rtcicetransport import candidate_from_aioice

from channels.ice import IceServer
from channels.signaling.client import ConnectionEndedError
from media.peer import attach, description, gather
from media.peer.description import Candidate, Description, DescriptionError
from media.peer.identity import Identity, open_connection
from media.peer.tally import Tally
from media.peer.watching import Watching

_log = logging.getLogger(__name__)

_CLOSE_LIMIT_S = 1.0
_CANDIDATES_LIMIT = 64
_START_BPS = 2_500_000
"""What browsers aim at for 1280x720."""


class Send(Protocol):
    """`SignalingConnection.send`."""

    def __call__(
        self, type: str, payload: bytes, recipient_client_id: str | None = None, correlation_id: str | None = None
    ) -> Awaitable[None]:
        """Send one message. Raises: ConnectionEndedError."""


class ReceivingPeer:
    """One offer and what comes of it; `finished` is set when the tally is full or nothing more will come."""

    def __init__(self, servers: Sequence[IceServer], tally: Tally, *, is_relay_only: bool, codec: str) -> None:
        self.failure: tuple[str, str] | None = None
        self.is_connected = False
        self._answered = asyncio.Event()
        self._is_relay_only = is_relay_only
        self._codec = codec
        # Stock gathering holds the offer until a server answers: only where there is nothing else to offer.
        self._gathers_first = is_relay_only or not gather.has_host_addresses()
        self._turn = gather.turn_servers(servers)
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._candidates: asyncio.Queue[Candidate] = asyncio.Queue(_CANDIDATES_LIMIT)
        self._tried: list[str] = []
        self._offered: list[str] = []
        self._connection = open_connection(
            attach.configuration(servers if self._gathers_first else (), is_relay_only=is_relay_only, is_offering=True),
            Identity.new(),
        )
        self._watching = Watching(self._connection, tally)
        self.finished = self._watching.ended
        self._connection.on("connectionstatechange", self._state_changed)

    @property
    def is_answered(self) -> bool:
        """The master's answer was taken."""
        return self._answered.is_set()

    def answer_received(self, payload: bytes) -> None:
        """Take the master's answer; only the first one counts."""
        if not self._answer.done():
            self._answer.set_result(payload)

    def candidate_received(self, payload: bytes) -> None:
        """Take a candidate of the master; broken ones and those over the bound are left out."""
        try:
            self._take(description.read_candidate(payload))
        except DescriptionError as error:
            _log.info("candidate left out", extra={"reason": str(error)})

    def _take(self, candidate: Candidate) -> None:
        try:
            self._candidates.put_nowait(candidate)
        except asyncio.QueueFull:
            _log.info("candidate left out", extra={"reason": "too many"})

    def candidates_tried(self) -> str:
        """Our candidates and the master's, for a person."""
        ours, theirs = ", ".join(self._tried) or "none", ", ".join(self._offered) or "none"
        return f"Ours: {ours}. The master's: {theirs}."

    def fail(self, step: str, message: str) -> None:
        """Give up with a reason."""
        self.failure = self.failure or (step, message)
        self.finished.set()

    async def run(self, send: Send) -> None:
        """Offer, wait for the answer, receive; returns early only when something failed."""
        try:
            await self._offer(send)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watching.run())
                if not self._gathers_first:
                    group.create_task(self._gather(group, send))
                payload = await self._answer
                await self._apply(payload)
                await self._take_candidates(group)
        except ConnectionEndedError:
            self.finished.set()

    async def close(self) -> None:
        """Free everything; waits at most a second."""
        self._watching.close()
        await attach.close(self._connection, _CLOSE_LIMIT_S)

    async def _offer(self, send: Send) -> None:
        connection = self._connection
        video = attach.add_transceiver(connection, "video", "recvonly")
        codecs = RTCRtpReceiver.getCapabilities("video")
        if codecs is not None:
            wanted = f"video/{self._codec}".lower()
            video.setCodecPreferences(sorted(codecs.codecs, key=lambda codec: codec.mimeType.lower() != wanted))
        for section in (video, attach.add_transceiver(connection, "audio", "recvonly")):
            self._watching.receive(section)
        self._watching.offered_at = asyncio.get_running_loop().time()
        await connection.setLocalDescription(await connection.createOffer())
        sdp = description.sha256_only(connection.localDescription.sdp)
        sdp = description.with_start_bitrate(sdp, _START_BPS)
        self._tried.extend(dict.fromkeys(description.candidate_addresses(sdp)))
        if self._gathers_first:
            if not self._tried:
                names = ", ".join(repr(server) for server in self._turn) or "none on the list"
                self.fail("ice-failed", f"No relay candidate: no TURN server gave one ({names}).")
                return
        else:
            sdp = description.without_end_of_candidates(sdp)
        payload = description.write_description(Description("offer", sdp))
        await send("SDP_OFFER", payload, correlation_id="offer")

    async def _gather(self, group: asyncio.TaskGroup, send: Send) -> None:
        for ice, mid, index in attach.ice_connections(self._connection):
            ufrag = ice.local_username

            def found(candidate: IceCandidate, mid: str = mid, index: int = index, ufrag: str = ufrag) -> None:
                self._tried.append(f"{candidate.type} {candidate.host}:{candidate.port}")
                payload = description.write_candidate(candidate_from_aioice(candidate), mid, index, ufrag)
                group.create_task(self._signal_candidate(send, payload))

            await gather.gather(ice, self._turn, found, self._head_start)

    async def _signal_candidate(self, send: Send, payload: bytes) -> None:
        try:
            await send("ICE_CANDIDATE", payload)
        except ConnectionEndedError:
            _log.info("candidate not sent: signaling has ended")

    async def _apply(self, payload: bytes) -> None:
        try:
            answer = description.read_description(payload, "answer")
            sdp, candidates = description.split_candidates(answer.sdp)
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
            for candidate in candidates:
                self._take(candidate)
        except Exception as error:  # noqa: BLE001 - aiortc raises whatever a broken answer makes it raise
            self.fail("no-answer", f"The master's answer cannot be used: {type(error).__name__}: {error}")
        else:
            self._answered.set()

    async def _take_candidates(self, group: asyncio.TaskGroup) -> None:
        while True:
            candidate = (await self._candidates.get()).candidate
            if candidate is not None:
                self._offered.append(f"{candidate.type} {candidate.ip}:{candidate.port}")
                group.create_task(self._add(candidate))

    async def _head_start(self) -> None:
        await self._answered.wait()
        await gather.head_start()

    async def _add(self, candidate: RTCIceCandidate) -> None:
        try:
            if candidate.type == "relay" and not self._gathers_first:
                await self._head_start()
            await self._connection.addIceCandidate(candidate)
        except (OSError, ValueError) as error:
            _log.info("candidate left out", extra={"reason": type(error).__name__})

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        self.is_connected = state == "connected"
        if state in ("failed", "closed"):
            self.finished.set()
