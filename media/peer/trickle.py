"""Candidates of one peer, both ways: theirs into the checks as they come, ours to them as they are found (RFC 8838)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aioice import Candidate as IceCandidate
from aiortc import RTCPeerConnection
from aiortc.rtcicetransport import candidate_from_aioice

from channels.ice import IceServer
from media.peer import attach, description, gather
from media.peer.description import Candidate

_log = logging.getLogger(__name__)

Servers = Callable[[], Awaitable[Sequence[IceServer]]]
Tell = Callable[[bytes], Awaitable[None]]
"""Sends one candidate of ours to the viewer; one that cannot go out is dropped."""


class Trickle:
    """Holds at most `limit` candidates of the viewer over the whole life of the peer."""

    def __init__(self, client_id: str, limit: int) -> None:
        self.taken = 0
        self.dropped = 0
        self._client_id = client_id
        self._limit = limit
        self._candidates: asyncio.Queue[Candidate] = asyncio.Queue(limit)
        self._has_local_all = asyncio.Event()

    def add(self, candidate: Candidate) -> None:
        """Take a remote candidate, before or after the offer was worked through; too many are dropped."""
        if self.taken >= self._limit:
            self.dropped += 1
            return
        self.taken += 1
        self._candidates.put_nowait(candidate)

    async def gather(self, connection: RTCPeerConnection, servers: Servers | None, tell: Tell) -> None:
        """Find relayed and reflexive candidates and tell them; without `servers` all are known already."""
        async with asyncio.TaskGroup() as group:
            turn = gather.turn_servers(await servers()) if servers is not None else []
            for ice, mid, index in attach.ice_connections(connection):
                ufrag = ice.local_username

                def found(candidate: IceCandidate, mid: str = mid, index: int = index, ufrag: str = ufrag) -> None:
                    ours = candidate_from_aioice(candidate)
                    group.create_task(_told(tell, description.write_candidate(ours, mid, index, ufrag)))

                group.create_task(gather.gather(ice, turn, found))
        self._has_local_all.set()

    async def take(self, connection: RTCPeerConnection) -> None:
        """Give what comes to the checks, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                candidate = await self._candidates.get()
                if candidate.candidate is None:
                    group.create_task(self._end(connection))
                elif candidate.candidate.protocol.lower() == "udp":
                    group.create_task(self._add(connection, candidate))

    async def _add(self, connection: RTCPeerConnection, candidate: Candidate) -> None:
        try:
            await connection.addIceCandidate(candidate.candidate)
        except (OSError, ValueError) as error:  # no multicast for an mDNS name, a candidate after the end
            _log.debug("candidate left out", extra={"client_id": self._client_id, "error": str(error)})

    async def _end(self, connection: RTCPeerConnection) -> None:
        # aioice fails a check list of failed pairs once the remote end is known: wait for our own late candidates.
        await self._has_local_all.wait()
        await connection.addIceCandidate(None)


async def _told(tell: Tell, payload: bytes) -> None:
    await tell(payload)
