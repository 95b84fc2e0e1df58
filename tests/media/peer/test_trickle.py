import asyncio

from aioice import Candidate as IceCandidate
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtcicetransport import candidate_from_aioice

from channels.ice import IceServer
from media.peer.description import Candidate
from media.peer.trickle import Trickle


def candidate(port: int, transport: str = "udp") -> Candidate:
    found = candidate_from_aioice(IceCandidate("1", 1, transport, 1, "192.0.2.7", port, "host"))
    found.sdpMLineIndex = 0
    return Candidate(found, None)


async def negotiating() -> RTCPeerConnection:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTransceiver("video", "recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    return connection


async def test_too_many_candidates_are_dropped_and_counted() -> None:
    trickle = Trickle("v1", 2)
    for port in range(1, 6):
        trickle.add(candidate(port))
    assert (trickle.taken, trickle.dropped) == (2, 3)


async def test_candidates_reach_the_checks_but_for_those_of_tcp() -> None:
    trickle, taken = Trickle("v1", 4), asyncio.Queue[object]()

    class Checks:
        async def addIceCandidate(self, candidate: object) -> None:  # noqa: N802 - the name is of W3C WebRTC
            taken.put_nowait(candidate)
            if candidate is not None:
                raise ValueError("after the end")

    trickle.add(candidate(1, "tcp"))
    trickle.add(candidate(2))
    trickle.add(Candidate(None, None))
    connection = await negotiating()

    async def no_servers() -> tuple[IceServer, ...]:
        return ()

    async def tell(payload: bytes) -> None:
        raise AssertionError("nothing to tell")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(trickle.take(Checks()))  # type: ignore[arg-type]
        first = await taken.get()
        assert first is not None
        assert taken.empty(), "the end waits for our own candidates"
        await trickle.gather(connection, no_servers, tell)
        assert await taken.get() is None
        task.cancel()
    await connection.close()
