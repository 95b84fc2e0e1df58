import asyncio
from struct import pack

import pytest
from aiortc import RTCPeerConnection

from media.peer import attach
from media.peer.tally import Seen, Tally
from media.peer.watching import STALL_S, Watching

SEEN = Seen(320, 180, 100, 0, None)
SENDER_REPORT = pack("!BBHLQLLL", 0x80, 200, 6, 1, 0, 0, 7, 700)


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


async def test_a_master_that_pauses_the_picture_lives_by_its_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = RTCPeerConnection(attach.configuration((), is_relay_only=False))
    watched = Watching(connection, Tally(100))
    loop = asyncio.get_running_loop()
    now = loop.time()

    async def pass_by(seconds: float) -> None:
        nonlocal now
        now += seconds
        for _ in range(5):  # all that is due happens
            await asyncio.sleep(0)

    with monkeypatch.context() as moved:
        moved.setattr(loop, "time", lambda: now)
        async with asyncio.TaskGroup() as group:
            group.create_task(watched._notice_the_end())
            watched._rtcp_received(SENDER_REPORT)  # a picture may take its time to begin
            await pass_by(0.0)
            await pass_by(60.0)
            assert not watched.ended.is_set()
            watched._seen(SEEN)
            await pass_by(0.0)
            for _ in range(5):
                await pass_by(STALL_S - 0.1)
                watched._rtcp_received(SENDER_REPORT)
                await pass_by(0.0)
            assert not watched.ended.is_set()
            await pass_by(STALL_S + 0.1)
            assert watched.ended.is_set()
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
