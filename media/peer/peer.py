"""One viewer's peer connection: offer in, answer and candidates out, media until it ends.

aiortc keeps SDP, ICE and DTLS; the streams are ours (`stream.py`). The life of a peer is `run`: it ends when the viewer
leaves, stays silent, never connects, or is stopped.
"""

import asyncio
import enum
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
from aioice import Candidate as IceCandidate
from aiortc import (
    RTCDtlsTransport,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError
from aiortc.rtcicetransport import candidate_from_aioice

from channels.ice import IceServer
from media.fanout import FanOut
from media.feed import Codec
from media.peer import attach, description, gather
from media.peer.attach import Negotiated
from media.peer.description import Candidate, Description, DescriptionError, MediaPlan
from media.peer.stream import OutgoingStream
from media.rtp import feedback
from media.rtp.feedback import Goodbye, Remb

_log = logging.getLogger(__name__)

Signal = Callable[[str, bytes], Awaitable[None]]
"""Sends (message type, payload) to this viewer; a message that cannot go out is dropped."""
Servers = Callable[[], Awaitable[Sequence[IceServer]]]

_CODECS = {codec.value: codec for codec in Codec}
_CLOSE_LIMIT_S = 1.0


class End(enum.Enum):
    """Why a peer ended."""

    LEFT = "left"
    REFUSED = "refused"
    DEADLINE = "not connected in time"
    FAILED = "connection failed"
    SILENCE = "silent"
    STOPPED = "stopped"
    REPLACED = "replaced"


class PeerSettings(msgspec.Struct, frozen=True):
    """`deadline_s` from offer to DTLS; `silence_s` without RTCP from a viewer that has sent some before; `report_s`
    from one sender report to the next.

    A viewer that never sends RTCP (the KVS C SDK may not) is left to ICE consent, about 30 s. `is_relay_only` keeps
    our own addresses to ourselves: the answer then waits for a TURN server.
    """

    deadline_s: float = 20.0
    silence_s: float = 6.0
    report_s: float = 1.0
    candidates_limit: int = 64
    has_audio: bool = True
    is_relay_only: bool = False


class PeerStats(msgspec.Struct):
    """Monotonic seconds of what happened, None before; and counts."""

    offered_at: float
    answered_at: float | None = None
    connected_at: float | None = None
    heard_at: float | None = None
    candidates: int = 0
    candidates_dropped: int = 0


class Outside(msgspec.Struct, frozen=True):
    """What a peer needs from its master: the fan-out, the ICE servers of this moment, and a way to its viewer."""

    fanout: FanOut
    servers: Servers
    signal: Signal


class Peer:
    """One viewer; `client_id` names it in logs and `ufrag` tells its ICE session."""

    def __init__(self, client_id: str, offer: Description, outside: Outside, settings: PeerSettings) -> None:
        self.client_id = client_id
        self.ufrag = description.ufrag(offer.sdp)
        self.end: End | None = None
        self.answer: bytes | None = None
        self.streams: dict[int, OutgoingStream] = {}
        self._offer = offer
        self._outside = outside
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.stats = PeerStats(offered_at=self._loop.time())
        self._candidates: asyncio.Queue[Candidate] = asyncio.Queue(settings.candidates_limit)
        self._has_local_all = asyncio.Event()
        self._up = asyncio.Event()
        self._ended = asyncio.Event()
        self._all: list[OutgoingStream] = []

    @property
    def is_connected(self) -> bool:
        """DTLS is up and the peer has not ended."""
        return self.stats.connected_at is not None and self.end is None

    async def connected(self) -> bool:
        """Wait until DTLS is up, or the peer has ended: False."""
        await self._up.wait()
        return self.is_connected

    def add_candidate(self, candidate: Candidate) -> None:
        """Take a remote candidate, before or after the offer was worked through; too many are dropped."""
        if self.stats.candidates >= self._settings.candidates_limit:
            self.stats.candidates_dropped += 1
            return
        self.stats.candidates += 1
        self._candidates.put_nowait(candidate)

    def stop(self, end: End = End.STOPPED) -> None:
        """Make `run` come to its end; idempotent, the first reason stands."""
        if self.end is None:
            self.end = end
        self._ended.set()
        self._up.set()

    async def run(self, on_answered: Callable[[], None] = lambda: None) -> End:
        """Live to the end; `on_answered` is called when the answer is out. A viewer's faults end it, none raises."""
        # Stock gathering holds the answer until a server answers: only where there is nothing else to answer with.
        gathers_first = self._settings.is_relay_only or not gather.has_host_addresses()
        servers = await self._outside.servers() if gathers_first else ()
        connection = RTCPeerConnection(attach.configuration(servers, is_relay_only=self._settings.is_relay_only))
        attach.accept_rsa(connection)
        connection.on("connectionstatechange", lambda: self._state_changed(connection.connectionState))
        try:
            await self._negotiate(connection)
            on_answered()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._gather(connection, is_needed=not gathers_first)),
                    group.create_task(self._take_candidates(connection)),
                ]
                try:
                    await self._live()
                finally:
                    for task in tasks:
                        task.cancel()
        except DescriptionError as error:
            self.stop(End.REFUSED)
            _log.warning("offer refused", extra={"client_id": self.client_id, "reason": str(error)})
        finally:
            await self._close(connection)
        return self.end or End.LEFT

    async def _negotiate(self, connection: RTCPeerConnection) -> None:
        offered, candidates = description.split_candidates(self._offer.sdp)
        for candidate in candidates:
            self.add_candidate(candidate)
        try:
            for section in description.plan(offered, has_audio=self._settings.has_audio):
                self._prepare(connection, section)
            await connection.setRemoteDescription(RTCSessionDescription(offered, "offer"))
        except OperationError as error:
            raise DescriptionError("no codec in common with the offer") from error
        except DescriptionError:
            raise
        except Exception as error:  # aiortc raises whatever broken SDP makes it raise
            raise DescriptionError(f"the offer cannot be used: {type(error).__name__}: {error}") from error
        for transceiver in connection.getTransceivers():
            if transceiver.direction == "sendonly":
                self._attach_stream(connection, transceiver)
        for ice, _, _ in attach.ice_connections(connection):
            attach.recheck_when_asked(ice)
        await connection.setLocalDescription(await connection.createAnswer())
        if self.end is not None:
            return  # stopped meanwhile: an answer now would meet a viewer that has offered anew
        answer = description.sha256_only(connection.localDescription.sdp)
        answer = description.without_end_of_candidates(answer)
        self.answer = description.write_description(Description("answer", answer))
        await self._outside.signal("SDP_ANSWER", self.answer)
        self.stats.answered_at = self._loop.time()
        _log.info("viewer answered", extra={"client_id": self.client_id})

    def _prepare(self, connection: RTCPeerConnection, section: MediaPlan) -> None:
        transceiver = connection.addTransceiver(section.kind, "sendonly" if section.sends else "inactive")
        if section.kind == "audio" and section.sends:
            codecs = RTCRtpSender.getCapabilities("audio").codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/opus"])

    def _attach_stream(self, connection: RTCPeerConnection, transceiver: RTCRtpTransceiver) -> None:
        name = attach.first_codec(transceiver)
        codec = _CODECS.get(name or "")
        if codec is None:
            return
        fanout = self._outside.fanout
        stream = OutgoingStream(codec, fanout, lambda: self.stop(End.LEFT))
        # Joined before DTLS is up, so that the encoder runs warm; nothing is sent before `start`.
        stream.leave = fanout.join(codec, stream)
        self._all.append(stream)

        def start(negotiated: Negotiated, dtls: RTCDtlsTransport) -> None:
            if self.end is None:
                self.streams[negotiated.ssrc] = stream
                attach.hear_rtcp(dtls, self._rtcp_received)
                self._guarded(partial(stream.start, negotiated, attach.DtlsPath(dtls)))

        attach.replace_sender(transceiver, start)

    def _state_changed(self, state: str) -> None:
        if state == "connected":
            if self.stats.connected_at is None:
                self.stats.connected_at = self._loop.time()
                _log.info("viewer connected", extra={"client_id": self.client_id})
            self._up.set()
        elif state == "failed":
            self.stop(End.FAILED)
        elif state == "closed":
            self.stop(End.LEFT)

    def _rtcp_received(self, data: bytes) -> None:
        self.stats.heard_at = self._loop.time()
        for event in feedback.parse(data):
            self._guarded(partial(self._route, event))

    def _guarded(self, send: Callable[[], None]) -> None:
        try:
            send()
        except Exception as error:  # noqa: BLE001 - a path that is closing raises anything; only this peer ends
            _log.info("viewer path failed", extra={"client_id": self.client_id, "error": type(error).__name__})
            self.stop(End.LEFT)

    def _route(self, event: feedback.Feedback) -> None:
        if isinstance(event, Goodbye):
            return
        ssrcs = event.ssrcs if isinstance(event, Remb) else (event.ssrc,)
        for ssrc in ssrcs:
            stream = self.streams.get(ssrc)
            if stream is not None:
                stream.receive(event)

    async def _live(self) -> None:
        try:
            async with asyncio.timeout_at(self.stats.offered_at + self._settings.deadline_s):
                await self._up.wait()
        except TimeoutError:
            self.stop(End.DEADLINE)
        while not self._ended.is_set():
            try:
                # RFC 3550, 6.2: the interval is varied by half.
                async with asyncio.timeout(self._settings.report_s * random.uniform(0.5, 1.5)):  # noqa: S311 - no secret
                    await self._ended.wait()
            except TimeoutError:
                self._tick()

    def _tick(self) -> None:
        heard_at = self.stats.heard_at
        if heard_at is not None and self._loop.time() - heard_at > self._settings.silence_s:
            self.stop(End.SILENCE)
            return
        for stream in self._all:
            self._guarded(stream.report)

    async def _gather(self, connection: RTCPeerConnection, *, is_needed: bool) -> None:
        async with asyncio.TaskGroup() as group:
            servers = gather.turn_servers(await self._outside.servers()) if is_needed else []
            for ice, mid, index in attach.ice_connections(connection):
                ufrag = ice.local_username

                def found(candidate: IceCandidate, mid: str = mid, index: int = index, ufrag: str = ufrag) -> None:
                    ours = candidate_from_aioice(candidate)
                    payload = description.write_candidate(ours, mid, index, ufrag)
                    group.create_task(self._signal_candidate(payload))

                group.create_task(gather.gather(ice, servers, found))
        self._has_local_all.set()

    async def _signal_candidate(self, payload: bytes) -> None:
        await self._outside.signal("ICE_CANDIDATE", payload)

    async def _take_candidates(self, connection: RTCPeerConnection) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                candidate = await self._candidates.get()
                if candidate.candidate is None:
                    group.create_task(self._end_candidates(connection))
                elif candidate.candidate.protocol.lower() == "udp":
                    group.create_task(self._add(connection, candidate))

    async def _add(self, connection: RTCPeerConnection, candidate: Candidate) -> None:
        try:
            await connection.addIceCandidate(candidate.candidate)
        except (OSError, ValueError) as error:  # no multicast for an mDNS name, a candidate after the end
            _log.debug("candidate left out", extra={"client_id": self.client_id, "error": str(error)})

    async def _end_candidates(self, connection: RTCPeerConnection) -> None:
        # aioice fails a check list of failed pairs once the remote end is known: wait for our own late candidates.
        await self._has_local_all.wait()
        await connection.addIceCandidate(None)

    async def _close(self, connection: RTCPeerConnection) -> None:
        self.stop(self.end or End.LEFT)
        for stream in self._all:
            stream.close()
        self.streams.clear()
        _log.info("viewer left", extra={"client_id": self.client_id, "reason": self.end.value if self.end else ""})
        if not await attach.close(connection, _CLOSE_LIMIT_S):
            _log.info("peer closes late", extra={"client_id": self.client_id})
