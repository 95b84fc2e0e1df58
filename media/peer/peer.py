"""One viewer's peer connection: offer in, answer and candidates out, media until it ends.

aiortc keeps SDP, ICE and DTLS; the streams are ours (`stream.py`). The life of a peer is `run`: it ends when the viewer
leaves, stays silent, never connects, or is stopped.
"""

import asyncio
import enum
import logging
import random
from collections.abc import Awaitable, Callable

import msgspec
from aiortc import (
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError

from media.control.share import Share
from media.encoders.snapshot import Jpeg, SnapshotError
from media.fanout import FanOut
from media.feed import Codec
from media.peer import association, attach, checks, description, gather
from media.peer.commands import CommandStats, Move
from media.peer.control_channel import Abilities, ControlChannel
from media.peer.description import Candidate, Description, DescriptionError
from media.peer.identity import Identities, open_connection
from media.peer.liveness import Liveness
from media.peer.streams import Ears, StreamReport, Streams
from media.peer.talkback import Talkback
from media.peer.trickle import Servers, Trickle

_log = logging.getLogger(__name__)

Signal = Callable[[str, bytes], Awaitable[None]]
"""Sends (message type, payload) to this viewer; a message that cannot go out is dropped."""

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
    """`deadline_s` from offer to DTLS; `silence_s` without a sign of life (`liveness.py`); `report_s` from one sender
    report to the next.

    `is_relay_only` keeps our own addresses to ourselves: the answer then waits for a TURN server.
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
    ice_at: float | None = None
    connected_at: float | None = None
    reported_at: float | None = None
    heard_at: float | None = None

    def after(self, at: float | None) -> int | None:
        """Milliseconds from the offer to `at`."""
        return None if at is None else round(1000 * (at - self.offered_at))


async def no_snapshot(codec: Codec) -> Jpeg:
    """Refuse: there is no feed to take a picture of."""
    raise SnapshotError("this master takes no snapshots")


class PeerReport(msgspec.Struct, frozen=True):
    """What a viewer may know about itself."""

    connected_s: float
    streams: tuple[StreamReport, ...]
    commands: CommandStats


class Outside(msgspec.Struct, frozen=True):
    """What a peer needs from its master: the fan-out, the ICE servers of this moment, and a way to its viewer.

    `take_snapshot` and `move` serve commands of the viewer; without `move` there is no camera to move, without
    `talkback` viewers are not heard.
    """

    fanout: FanOut
    servers: Servers
    signal: Signal
    take_snapshot: Callable[[Codec], Awaitable[Jpeg]] = no_snapshot
    move: Callable[[Move], Awaitable[None]] | None = None
    talkback: Talkback | None = None
    identities: Identities = msgspec.field(default_factory=Identities)


class Peer:
    """One viewer; `client_id` names it in logs and `ufrag` tells its ICE session."""

    def __init__(self, client_id: str, offer: Description, outside: Outside, settings: PeerSettings) -> None:
        self.client_id = client_id
        self.ufrag = description.ufrag(offer.sdp)
        self.end: End | None = None
        self.answer: bytes | None = None
        self._offer = offer
        self._outside = outside
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.stats = PeerStats(offered_at=self._loop.time())
        self.trickle = Trickle(client_id, settings.candidates_limit)
        self._connection: RTCPeerConnection | None = None
        self._liveness: Liveness | None = None
        self._report_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._up = asyncio.Event()
        self._ended = asyncio.Event()
        ears = Ears(self._heard, self._reported, lambda: self.stop(End.LEFT))
        self.share = Share(self._loop.time())
        self.streams = Streams(client_id, outside.fanout, outside.talkback, ears, self.share)
        abilities = Abilities(self._take_snapshot, self._choose_layer, self.report, outside.move)
        self.control = ControlChannel(client_id, abilities)

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
        self.trickle.add(candidate)

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
        connection = open_connection(
            attach.configuration(servers, is_relay_only=self._settings.is_relay_only),
            self._outside.identities.current(self._loop.time()),
        )
        connection.on("datachannel", self.control.opened)
        self._connection = connection
        connection.on("iceconnectionstatechange", lambda: self._ice_changed(connection.iceConnectionState))
        connection.on("connectionstatechange", lambda: self._state_changed(connection.connectionState))
        try:
            await self._negotiate(connection)
            on_answered()
            async with asyncio.TaskGroup() as group:
                servers_later = None if gathers_first else self._outside.servers
                tasks = [
                    group.create_task(self.trickle.gather(connection, servers_later, self._signal_candidate)),
                    group.create_task(self.trickle.take(connection)),
                    group.create_task(self.control.run()),
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
        offered = description.without_other_codecs(offered)
        for candidate in candidates:
            self.add_candidate(candidate)
        try:
            self.streams.prepare(connection, offered, has_audio=self._settings.has_audio)
            await connection.setRemoteDescription(RTCSessionDescription(offered, "offer"))
        except OperationError as error:
            raise DescriptionError("no codec in common with the offer") from error
        except DescriptionError:
            raise
        except Exception as error:  # aiortc raises whatever broken SDP makes it raise
            raise DescriptionError(f"the offer cannot be used: {description.reason(error)}") from error
        self.streams.attach(connection)
        for ice, _, _ in attach.ice_connections(connection):
            checks.connect_at_once(ice)
            checks.recheck_when_asked(ice, self._heard)
            checks.ask_when_silent(ice, self._must_ask, self._heard)
        if connection.sctp is not None:
            association.guard(connection.sctp, self.share)
        await connection.setLocalDescription(await connection.createAnswer())
        if self.end is not None:
            return  # stopped meanwhile: an answer now would meet a viewer that has offered anew
        answer = description.sha256_only(connection.localDescription.sdp)
        answer = description.without_end_of_candidates(answer)
        self.answer = description.write_description(Description("answer", answer))
        await self._outside.signal("SDP_ANSWER", self.answer)
        self.stats.answered_at = self._loop.time()
        _log.info("viewer answered", extra={"client_id": self.client_id})

    def _ice_changed(self, state: str) -> None:
        if state == "completed" and self.stats.ice_at is None:
            self.stats.ice_at = self._loop.time()

    def _state_changed(self, state: str) -> None:
        if state == "connected":
            if self.stats.connected_at is None:
                self.stats.connected_at = self._loop.time()
                self._liveness = Liveness(self._settings.silence_s, self.stats.connected_at)
                _log.info("viewer connected", extra={"client_id": self.client_id})
            self._up.set()
        elif state == "failed":
            self.stop(End.FAILED)
        elif state == "closed":
            self.stop(End.LEFT)

    def _heard(self) -> None:
        if self._liveness is not None:
            self._liveness.heard(self._loop.time())

    def _must_ask(self) -> bool:
        return self._liveness is not None and self._liveness.must_ask(self._loop.time())

    def _reported(self, is_regular: bool) -> None:
        self.stats.heard_at = self._loop.time()
        if self.stats.reported_at is None:
            self.stats.reported_at = self.stats.heard_at
        if self._liveness is not None:
            self._liveness.reported(self.stats.heard_at, is_regular=is_regular)

    def report(self) -> PeerReport:
        """What is counted about this viewer."""
        connected_at = self.stats.connected_at
        since_s = 0.0 if connected_at is None else self._loop.time() - connected_at
        return PeerReport(round(since_s, 1), self.streams.reports(), self.control.stats)

    @property
    def path(self) -> tuple[str, str] | None:
        """Candidate types of our side and of the viewer's, of the selected pair."""
        return None if self._connection is None else attach.selected_types(self._connection)

    async def _take_snapshot(self) -> Jpeg:
        stream = self.streams.picture
        if stream is None:
            raise SnapshotError("this viewer has no picture")
        return await self._outside.take_snapshot(stream.codec)

    def _choose_layer(self, layer: int | None) -> int:
        stream = self.streams.picture
        if stream is None:
            raise ValueError("this viewer has no picture")
        stream.switch_layer(layer or 0)
        stream.wanted_layer = layer
        return stream.layer if layer is None else layer

    async def _live(self) -> None:
        try:
            async with asyncio.timeout_at(self.stats.offered_at + self._settings.deadline_s):
                await self._up.wait()
        except TimeoutError:
            self.stop(End.DEADLINE)
        self._tend()
        try:
            await self._ended.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _tend(self) -> None:
        """Report, or end a viewer that is silent: whatever is due, and again when the next is."""
        if self._ended.is_set():
            return
        now = self._loop.time()
        if self._liveness is not None and now >= self._liveness.deadline:
            self.stop(End.SILENCE)
            return
        if now >= self._report_at:
            self.streams.send_reports()
            # RFC 3550, 6.2: the interval is varied by half.
            self._report_at = now + self._settings.report_s * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        tend_at = self._report_at if self._liveness is None else min(self._report_at, self._liveness.deadline)
        self._timer = self._loop.call_at(tend_at, self._tend)

    async def _signal_candidate(self, payload: bytes) -> None:
        await self._outside.signal("ICE_CANDIDATE", payload)

    async def _close(self, connection: RTCPeerConnection) -> None:
        self.stop(self.end or End.LEFT)
        self.streams.close()
        _log.info("viewer left", extra={"client_id": self.client_id, "reason": self.end.value if self.end else ""})
        if not await attach.close(connection, _CLOSE_LIMIT_S):
            _log.info("peer closes late", extra={"client_id": self.client_id})
