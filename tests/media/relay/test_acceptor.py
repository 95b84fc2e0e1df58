"""Who gets in, and who must leave when the time is over."""

import contextlib
import errno
import socket

import pytest

from tests.media.relay.hallway import Caller, entrance


async def test_source_that_has_its_share_is_refused_until_one_of_its_own_left() -> None:
    async with entrance(unauthenticated_per_source=2) as entered:
        with Caller(entered) as one, Caller(entered) as two:
            await one.asks()
            await two.asks()
            with Caller(entered) as three:
                assert await three.is_closed()
            assert entered.stats.connections_refused == {"per-source": 1}
            entered.relay.allocated.update(entered.hall.connections)
            await one.asks()
            with Caller(entered) as four:
                await four.asks()
            await two.asks()


async def test_source_that_comes_too_often_is_refused_though_it_leaves_each_time() -> None:
    async with entrance(arrivals_per_s=0.001, arrivals_burst=2) as entered:
        for _ in range(2):
            with Caller(entered) as caller:
                await caller.asks()
        with Caller(entered) as caller:
            assert await caller.is_closed()
        assert entered.stats.connections_refused == {"per-source": 1}


async def test_crowd_loses_its_oldest_stranger_and_no_client_with_an_allocation() -> None:
    async with entrance(unauthenticated=2) as entered:
        with Caller(entered) as client, Caller(entered) as one, contextlib.ExitStack() as stack:
            await client.asks()
            entered.relay.allocated.add(min(entered.hall.connections))
            await client.asks()
            await one.asks()
            others = [stack.enter_context(Caller(entered)) for _ in range(2)]
            assert await one.is_closed()
            assert entered.stats.connections_refused == {"crowded": 1}
            for caller in (client, *others):
                await caller.asks()


async def test_connection_that_says_nothing_is_closed() -> None:
    async with entrance() as entered:
        with Caller(entered) as silent, Caller(entered) as other:
            await other.asks()
            await entered.until(lambda: len(entered.hall.connections) == 2)
            now = entered.hall.loop.time()
            entered.acceptor.tick(now + 9)
            assert len(entered.hall.connections) == 2
            entered.acceptor.tick(now + 10)
            assert await silent.is_closed()
            await other.asks()
        assert entered.stats.connections_refused == {"timeout": 1}


async def test_stranger_must_get_an_allocation_in_time_whatever_it_asks() -> None:
    async with entrance() as entered:
        with Caller(entered) as stranger, Caller(entered) as client:
            await stranger.asks()
            await client.asks()
            number = max(entered.hall.connections)
            entered.relay.allocated.add(number)
            await client.asks()
            now = entered.hall.loop.time()
            entered.acceptor.tick(now + 29)
            await stranger.asks()
            entered.acceptor.tick(now + 30)
            assert await stranger.is_closed()
            await client.asks()
            entered.relay.allocated.clear()
            entered.acceptor.tick(now + 100)
            entered.acceptor.tick(now + 129)
            await client.asks()
            entered.acceptor.tick(now + 130)
            assert await client.is_closed()
        assert entered.stats.connections_refused == {"no-allocation": 2}


class Exhausted(socket.socket):
    """A listener that fails as the kernel does: once for each number."""

    errnos: list[int]
    accepted: int = 0

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.accepted += 1
        if self.errnos:
            raise OSError(self.errnos.pop(), "told so")
        return super().accept()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_without_descriptors_the_listener_rests_until_the_next_tick(code: int) -> None:
    class Once(Exhausted):
        errnos = [code]

    async with entrance(kind=Once) as entered:
        with Caller(entered) as caller:
            await entered.until(lambda: entered.stats.connections_refused)
            assert entered.stats.connections_refused == {"exhausted": 1}
            entered.acceptor.tick(entered.hall.loop.time())
            await caller.asks()
            entered.acceptor.tick(entered.hall.loop.time())


async def test_client_that_went_away_while_it_waited_is_passed_over() -> None:
    class Aborted(Exhausted):
        errnos = [errno.ECONNABORTED]

    async with entrance(kind=Aborted) as entered:
        with Caller(entered) as caller:
            await caller.asks()
        assert entered.stats.connections_refused == {}
