"""A master: one signaling connection, one feed, and a peer for each viewer that sends an offer.

It knows who asked for what; how a peer lives is `peer/peer.py`, what is encoded is `feed.py`.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from channels.bucket import Bucket
from channels.errors import ServiceError
from channels.ice import IceServer
from channels.service import EndpointUnreachableError
from channels.signaling.client import (
    ConnectionEndedError,
    Message,
    RefusedError,
    SignalingClient,
    SignalingConnection,
)
from media.fanout import FanOut
from media.feed import Feed
from media.offers import OfferGate
from media.peer import description
from media.peer.description import Candidate, DescriptionError
from media.peer.early import EarlyCandidates
from media.peer.identity import Identities
from media.peer.peer import End, Outside, Peer, PeerSettings
from media.peer.ptz import Ptz
from media.peer.speaker import Speaker
from media.peer.stream import OutgoingStream
from media.peer.talkback import Mode, Talkback
from media.report import MasterReport, Milestones, Reporter, Subject, add
from media.rtp.viewer import SenderStats
from media.snapshots import Snapshots
from media.steering import TICK_S, Steering

_log = logging.getLogger(__name__)

REPLACED_CODE = 1000
REPLACED_REASON = "replaced by a newer master"
COLLECT_AFTER = 4
"""Peers that left: what the libraries keep of each is circles, 60 kB that wait for the collector of cycles."""
_SEND_LIMIT_S = 5.0
_RENEW_MARGIN_S = 60.0
_RETRY_SERVERS_S = 1.0
_STABLE_S = 10.0
"""A connection that lived this long starts the back-off anew."""


class ReplacedError(Exception):
    """A newer master took over the channel; `persist` makes a master try again instead."""


class MasterSettings(msgspec.Struct, frozen=True):
    """`source` is for logs only: the feed is open already. The back-off has full jitter; times in seconds.

    `peers_limit` bounds what viewers that come, offer and leave can hold; the service bounds how many are there.
    `ptz_command` is the program, with its arguments, that moves the camera; every viewer may then. `talkback_mode` says
    who is heard when several talk.
    """

    source: str = "test"
    persist: bool = False
    persist_after_s: float = 30.0
    backoff_first_s: float = 0.2
    backoff_last_s: float = 10.0
    peers_limit: int = 256
    ptz_command: tuple[str, ...] = ()
    talkback_mode: Mode = Mode.MIX
    peer: PeerSettings = PeerSettings()


class MasterStats(msgspec.Struct):
    """Counters of a master; `ends` counts peers by the reason of their end."""

    offers: int = 0
    offers_repeated: int = 0
    offers_refused: int = 0
    offers_too_many: int = 0
    """Not looked at: their viewer, or all together, offered too often; see `offers.py`."""
    messages_ignored: int = 0
    messages_unsent: int = 0
    candidates_dropped: int = 0
    packets_refused: int = 0
    """Of viewers that had taken more than their share of time; see `control/share.py`."""
    reconnects: int = 0
    replaced: int = 0
    faults: int = 0
    ends: dict[str, int] = {}


class Master:
    """Serves one channel from one feed; whoever makes it also runs the feed (`Feed.run`).

    With a `speaker` viewers may talk back; the master closes it.
    """

    def __init__(
        self, signaling: SignalingClient, feed: Feed, settings: MasterSettings, speaker: Speaker | None = None
    ) -> None:
        self._signaling = signaling
        self._settings = settings
        self._peer_settings = msgspec.structs.replace(settings.peer, has_audio=feed.has_audio)
        self._fanout = FanOut(feed)
        self._snapshots = Snapshots(feed)
        self.talkback = Talkback(speaker, settings.talkback_mode) if speaker else None
        self._move = Ptz(settings.ptz_command).move if settings.ptz_command else None
        self._steering = Steering(feed, self._streams)
        self._peers: dict[str, Peer] = {}
        self._replaced: dict[str, list[Peer]] = {}
        self._running: list[Peer] = []
        self._past = SenderStats()
        self._reporter = Reporter()
        self._early = EarlyCandidates()
        self._identities = Identities()
        self._left = 0
        self._connection: SignalingConnection | None = None
        self._servers: tuple[IceServer, ...] = ()
        self._servers_until = 0.0
        self._servers_lock = asyncio.Lock()
        self._attempt = 0
        self._offers = OfferGate(0.0)  # a master is made before its loop
        self._complaints = Bucket(1.0, 1.0, 0.0)
        self.stats = MasterStats()

    @property
    def viewers(self) -> int:
        """Peers whose DTLS is up."""
        return sum(peer.is_connected for peer in self._peers.values())

    @property
    def steering(self) -> Steering:
        """What keeps slow viewers from dragging the others, for its counters."""
        return self._steering

    @property
    def sent(self) -> SenderStats:
        """Counters of all streams to all viewers, those that left too; only what grows."""
        total = add(SenderStats(), [self._past])
        return add(total, (stats for peer in self._running for stats in peer.streams.counted))

    @property
    def relays_in_use(self) -> int:
        """Viewers whose picture goes through a TURN server, theirs or ours."""
        return sum(peer.is_connected and "relay" in (peer.path or ()) for peer in self._peers.values())

    def report(self) -> MasterReport:
        """All viewers of this moment, with rates since the last call."""
        return self._reporter.report(map(_subject, self._peers.values()), asyncio.get_running_loop().time())

    @property
    def fanout(self) -> FanOut:
        """The fan-out, for its counters."""
        return self._fanout

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Connect, call `on_ready`, and serve until cancelled; a lost connection is opened again with back-off.

        Raises: ReplacedError (a newer master, without `persist`); what `SignalingClient.open` raises, for the first
        connection only.
        """
        connection = await self._signaling.open()
        self._identities.current(asyncio.get_running_loop().time())  # made before somebody waits for it
        replaced: ReplacedError | None = None
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[object]] = [
                group.create_task(self._ice_servers()),
                group.create_task(self._steer()),
            ]
            if self.talkback is not None:
                tasks.append(group.create_task(self.talkback.run()))
            on_ready()
            try:
                await self._serve(group, connection)
            except ReplacedError as error:
                replaced = error
            finally:
                for task in tasks:
                    task.cancel()
                self._stop_peers()
        if replaced is not None:
            raise replaced

    async def _steer(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._steering.tick()

    def _streams(self) -> Iterator[OutgoingStream]:
        for peer in self._peers.values():
            if peer.streams.picture is not None:
                yield peer.streams.picture

    async def _serve(self, group: asyncio.TaskGroup, connection: SignalingConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            opened_at = loop.time()
            await self._listen(group, connection)
            if (connection.close_code, connection.close_reason) == (REPLACED_CODE, REPLACED_REASON):
                self.stats.replaced += 1
                self._stop_peers()
                if not self._settings.persist:
                    raise ReplacedError("a newer master took over the channel")
                _log.warning("replaced by a newer master", extra={"again_in_s": self._settings.persist_after_s})
                await asyncio.sleep(self._settings.persist_after_s)
            if loop.time() - opened_at > _STABLE_S:
                self._attempt = 0
            connection = await self._reopen()

    async def _listen(self, group: asyncio.TaskGroup, connection: SignalingConnection) -> None:
        self._connection = connection
        try:
            async for message in connection:
                self._receive(group, message)
        finally:
            self._connection = None
            await connection.close()
        _log.warning("signaling ended", extra={"code": connection.close_code, "viewers": self.viewers})

    async def _reopen(self) -> SignalingConnection:
        while True:
            bound_s = min(self._settings.backoff_last_s, self._settings.backoff_first_s * 2.0 ** min(self._attempt, 16))
            self._attempt += 1
            await asyncio.sleep(random.uniform(0, bound_s))  # noqa: S311 - jitter, no secret
            try:
                connection = await self._signaling.open()
            except (ServiceError, RefusedError, EndpointUnreachableError) as error:
                _log.warning("signaling does not open", extra={"reason": str(error)})
                continue
            self.stats.reconnects += 1
            _log.info("signaling opened again", extra={"viewers": self.viewers})
            return connection

    def _receive(self, group: asyncio.TaskGroup, message: Message) -> None:
        client_id = message.sender_client_id
        if not client_id:
            self.stats.messages_ignored += 1
            return
        try:
            if message.type == "SDP_OFFER":
                self._offer_received(group, client_id, message.payload)
            elif message.type == "ICE_CANDIDATE":
                self._candidate_received(client_id, description.read_candidate(message.payload))
            else:
                self.stats.messages_ignored += 1
        except DescriptionError as error:
            self.stats.offers_refused += message.type == "SDP_OFFER"
            self.stats.messages_ignored += message.type != "SDP_OFFER"
            _log.warning("message refused", extra={"client_id": client_id, "reason": str(error)})
        except Exception:  # noqa: BLE001 - the door for what viewers send: our fault in one leaves all their picture
            self.stats.faults += 1
            _log.exception("message failed")

    def _offer_received(self, group: asyncio.TaskGroup, client_id: str, payload: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if not self._offers.admits(client_id, len(payload), now):
            self.stats.offers_too_many += 1
            if self._complaints.take(now) == 0.0:
                _log.warning("too many offers", extra={"client_id": client_id, "in_all": self.stats.offers_too_many})
            return
        offer = description.read_description(payload, "offer")
        self.stats.offers += 1
        old = self._peers.get(client_id)
        if old is not None and old.end is None and old.ufrag == description.ufrag(offer.sdp):
            # The same ICE session once more: an offer that was sent twice, not a restart (RFC 8839, 4.4.1.1).
            self.stats.offers_repeated += 1
            if old.answer is not None:
                group.create_task(self._signal(client_id, "SDP_ANSWER", old.answer))
            return
        if old is None and sum(peer.end is None for peer in self._peers.values()) >= self._settings.peers_limit:
            raise DescriptionError(f"there are {self._settings.peers_limit} peers already")
        signal = partial(self._signal, client_id)
        outside = Outside(
            self._fanout, self._ice_servers, signal, self._snapshots.take, self._move, self.talkback, self._identities
        )
        peer = Peer(client_id, offer, outside, self._peer_settings)
        if old is not None and old.answer is None:
            old.stop(End.REPLACED)
        elif old is not None:
            self._replaced.setdefault(client_id, []).append(old)  # it streams until the new one has answered
        self._peers[client_id] = peer
        for candidate in self._early.take(client_id, now):
            if candidate.ufrag in (None, peer.ufrag):
                peer.add_candidate(candidate)
        group.create_task(self._run_peer(peer))

    def _candidate_received(self, client_id: str, candidate: Candidate) -> None:
        peer = self._peers.get(client_id)
        if peer is not None and candidate.ufrag in (None, peer.ufrag):
            peer.add_candidate(candidate)
        elif not self._early.keep(client_id, candidate, asyncio.get_running_loop().time()):
            self.stats.candidates_dropped += 1

    async def _run_peer(self, peer: Peer) -> None:
        self._running.append(peer)
        try:
            end = await peer.run(partial(self._replace, peer))
            self.stats.ends[end.value] = self.stats.ends.get(end.value, 0) + 1
            self.stats.offers_refused += end is End.REFUSED
        except Exception:  # noqa: BLE001 - root of a viewer's task: our fault in one leaves the others their picture
            self.stats.faults += 1
            _log.exception("peer failed")
        finally:
            self._running.remove(peer)
            self._collect()
            add(self._past, peer.streams.counted)
            self.stats.packets_refused += peer.share.refused
            self._replace(peer)
            if self._peers.get(peer.client_id) is peer:
                del self._peers[peer.client_id]

    def _collect(self) -> None:
        """Free what those that left have left; by itself that comes up to 40 of them late, and is never given back."""
        self._left += 1
        if self._left % COLLECT_AFTER == 0:
            gc.collect()

    def _replace(self, peer: Peer) -> None:
        """End those whose place `peer` takes; one that has lost its own place meanwhile leaves that to the newer."""
        if self._peers.get(peer.client_id) is peer:
            for old in self._replaced.pop(peer.client_id, ()):
                old.stop(End.REPLACED)

    def _stop_peers(self) -> None:
        for peer in self._peers.values():
            peer.stop()

    async def _signal(self, client_id: str, type: str, payload: bytes) -> None:
        connection = self._connection
        try:
            if connection is None:
                raise ConnectionEndedError("not connected")
            async with asyncio.timeout(_SEND_LIMIT_S):
                await connection.send(type, payload, client_id)
        except (ConnectionEndedError, TimeoutError):
            self.stats.messages_unsent += 1

    async def _ice_servers(self) -> Sequence[IceServer]:
        """The servers of this moment; asked for again a minute before their credential expires, the last ones else."""
        async with self._servers_lock:
            now = asyncio.get_running_loop().time()
            if now < self._servers_until:
                return self._servers
            try:
                self._servers = await self._signaling.ice_servers()
            except (ServiceError, EndpointUnreachableError) as error:
                _log.warning("no ICE servers", extra={"reason": str(error)})
                self._servers_until = now + _RETRY_SERVERS_S
                return self._servers
            ttl_s = min((server.ttl_s for server in self._servers), default=300)
            self._servers_until = now + max(ttl_s - _RENEW_MARGIN_S, ttl_s / 2)
            return self._servers


def _subject(peer: Peer) -> Subject:
    stats, told = peer.stats, peer.report()
    milestones = Milestones(
        answered_ms=stats.after(stats.answered_at),
        ice_ms=stats.after(stats.ice_at),
        dtls_ms=stats.after(stats.connected_at),
        first_packet_ms=stats.after(peer.streams.first_sent_at),
        first_report_ms=stats.after(stats.reported_at),
    )
    path = None if peer.path is None else "/".join(peer.path)
    return Subject(peer.client_id, told.connected_s, path, milestones, told.streams)
