import asyncio

from aiortc import RTCPeerConnection

from media.peer import attach
from media.peer.tally import Seen, Tally
from media.peer.watching import Watching

SEEN = Seen(320, 180, 100, 0, None)


async def test_the_end_is_told_when_no_picture_comes_any_more() -> None:
    connection = RTCPeerConnection(attach.configuration((), is_relay_only=False))
    tally = Tally(100)
    watched = Watching(connection, tally, stall_s=0.05)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        task = group.create_task(watched.run())
        watched._seen(SEEN)
        await watched.ended.wait()
        task.cancel()
    assert tally.frames == 1
    watched.close()
    await connection.close()


async def test_pictures_beyond_the_wish_are_not_counted() -> None:
    connection = RTCPeerConnection(attach.configuration((), is_relay_only=False))
    tally = Tally(1)
    watched = Watching(connection, tally)
    watched._seen(SEEN)
    assert watched.ended.is_set()
    watched._seen(SEEN)
    assert tally.frames == 1
    await connection.close()
