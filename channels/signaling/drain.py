"""The end of a node's connections: each goes at a time of its own, and only once nothing it said waits for an answer.

    open --its time comes--> paused --nothing it said is underway--> leaving --lease given back--> closed with 1001
                                '------- 2 s -----------------------^   '------ the drain is over ----^

A paused connection is still given what is for it, but read no more: what its peer sends stays unread, so nothing more
is accepted that could not be answered. What is read after the close frame is brought on, though nobody can be told of
it. A connection whose lease is back may be replaced by one elsewhere, so it stays open for one round trip only.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from channels.signaling.leases import Leases
from channels.signaling.members import Member

_TURN_S: Final = 0.02
_TURNS: Final = 50  # who is due within one goes together: a Redis that is far away has as many calls to answer at most
_ANSWERED_S: Final = 2.0  # within which whoever said something is told what became of it
_LAST_S: Final = 1.0  # before its end nobody's time comes any more, so that all can be closed by then
_RELEASE_S: Final = 0.5  # a lease may take so long even when the drain is over
_AT_ONCE: Final = 250


class Drain:
    """Closes connections; `underway` are the ids of those that wait for an answer, `close` ends one."""

    def __init__(self, leases: Leases, underway: Callable[[], set[str]], close: Callable[[Member], None]) -> None:
        self._leases = leases
        self._underway = underway
        self._close = close
        self._paused: dict[Member, float] = {}  # until when they wait

    async def run(self, members: Iterable[Member], over_s: float) -> None:
        """Close these, spread evenly with jitter over `over_s`."""
        now = asyncio.get_running_loop().time
        end = now() + over_s
        plan_s = max(over_s / 2, over_s - _LAST_S)
        due = self._plan(members, now(), plan_s)
        turn_s = max(_TURN_S, plan_s / _TURNS)
        async with asyncio.TaskGroup() as group:
            while due or self._paused:
                self._pause(due, now())
                ready = self._ready(now())
                for first in range(0, len(ready), _AT_ONCE):
                    group.create_task(self._let_go(ready[first : first + _AT_ONCE], end))
                if self._paused or due:
                    until = now() if self._paused else due[0][0]
                    await asyncio.sleep(max(turn_s, until - now()))

    def _plan(self, members: Iterable[Member], now: float, over_s: float) -> deque[tuple[float, Member]]:
        order = list(members)
        random.shuffle(order)
        step_s = over_s / max(1, len(order))
        return deque(
            (now + step_s * (number + random.random()), member)  # noqa: S311  # spreads load, hides nothing
            for number, member in enumerate(order)
        )

    def _pause(self, due: deque[tuple[float, Member]], now: float) -> None:
        while due and due[0][0] <= now:
            _, member = due.popleft()
            if member.is_in:
                member.connection.pause()
                self._paused[member] = now + _ANSWERED_S

    def _ready(self, now: float) -> list[Member]:
        """Take out those that wait for nothing, or have waited long enough."""
        underway = self._underway() if self._paused else set()
        ready = [member for member, until in self._paused.items() if member.id not in underway or until <= now]
        for member in ready:
            del self._paused[member]
        return [member for member in ready if member.is_in]

    async def _let_go(self, members: list[Member], end: float) -> None:
        latest = max(end, asyncio.get_running_loop().time() + _RELEASE_S)
        with contextlib.suppress(TimeoutError):  # what is not given back in time is given back after the close
            async with asyncio.timeout_at(latest):
                await self._leases.release(*members)
        for member in members:
            if member.is_in:
                member.is_going = True
                self._close(member)
