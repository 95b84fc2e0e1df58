"""What websockets share: a flush, a sweep, their ends."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.ws.crowd import BUCKETS, ENDERS, LOOKS, Crowd, CrowdSettings


class Member:
    def __init__(self) -> None:
        self.looks = self.flushes = 0
        self.seen = asyncio.Event()

    def look(self) -> None:
        self.looks += 1
        self.seen.set()

    def flush(self) -> None:
        self.flushes += 1


def crowd(**settings: float) -> Crowd:
    made = Crowd(CrowdSettings(**settings))  # type: ignore[arg-type]
    made.attach(uvicorn.Config("none", log_config=None), ServerState())
    return made


async def test_whoever_is_marked_is_flushed_once_in_the_next_turn() -> None:
    some, one = crowd(), Member()
    some.mark(one)
    assert one.flushes == 0
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert one.flushes == 1


async def test_everybody_is_looked_at_and_nobody_who_has_left() -> None:
    some = crowd(ping_s=0.001 * LOOKS * BUCKETS)
    here, gone = Member(), Member()
    some.add(here)
    some.add(gone).discard(gone)
    async with asyncio.timeout(15):
        await here.seen.wait()
    assert gone.looks == 0
    assert len(some) == 1


@pytest.mark.parametrize(("ping_s", "silence_s", "looks"), [(20, 20, 8), (20, 40, 12), (60, 1, 5)])
def test_a_silent_peer_gets_its_time_after_the_ping(ping_s: float, silence_s: float, looks: int) -> None:
    assert Crowd(CrowdSettings(ping_s=ping_s, silence_s=silence_s)).silent_looks == looks


async def test_ends_are_worked_on_a_bounded_number_at_a_time_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    some, gate = crowd(), asyncio.Event()
    running = most = done = 0

    class Leaving:
        async def ended(self) -> None:
            nonlocal running, most, done
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1
            done += 1
            if done == 1:
                raise ZeroDivisionError

    for _ in range(3 * ENDERS):
        some.farewell(Leaving())
    await asyncio.sleep(0)
    gate.set()
    await some.settle(5)
    assert (most, done) == (ENDERS, 3 * ENDERS)
    assert [record.message for record in caplog.records] == ["the end of a websocket failed"]


async def test_what_is_closing_is_waited_for_but_not_for_ever() -> None:
    some = crowd()
    some.count_closing(1)
    await some.settle(0.01)
    asyncio.get_running_loop().call_soon(some.count_closing, -1)
    await some.settle(5)
    assert some._closing == 0
