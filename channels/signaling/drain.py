"""The end of a node's connections: each goes at a time of its own, and only once nothing it said waits for an answer.

    open --its time comes--> leaving --its lease is back--> paused --nothing it said is underway--> closed with 1001
                                '---- 2.5 s, or the end ----^    '--------------- 2 s ---------------^

A connection whose lease is back may be replaced by one elsewhere. Most are closed at once then; who waits for an answer
is still given what is for it, but read no more, so that nothing more is accepted that could not be answered. What is
read after the close frame is brought on, though nobody can be told of it.
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
_LAST_S: Final = 2.0  # before its end nobody's time comes any more, so that all can be closed by then
_RELEASE_S: Final = 2.5  # a lease may take so long
_LEAST_S: Final = 0.5  # even when the drain is over
_AT_ONCE: Final = 250


class Drain:
    """Closes connections; `underway` are the ids of those that wait for an answer, `close` ends one."""

    def __init__(self, leases: Leases, underway: Callable[[], set[str]], close: Callable[[Member], None]) -> None:
        self._leases = leases
        self._underway = underway
        self._close = close
        self._now = asyncio.get_running_loop().time

    async def run(self, members: Iterable[Member], over_s: float) -> None:
        """Close these, spread evenly with jitter over `over_s`."""
        began, plan_s = self._now(), max(over_s / 2, over_s - _LAST_S)
        due = plan(members, began, plan_s)
        turn_s = max(_TURN_S, plan_s / _TURNS)
        async with asyncio.TaskGroup() as group:
            while due:
                await asyncio.sleep(max(0.0, due[0][0] - self._now()))
                batch = list(_taken(due, self._now()))
                for first in range(0, len(batch), _AT_ONCE):
                    group.create_task(self._send_away(batch[first : first + _AT_ONCE], began + over_s))
                await asyncio.sleep(turn_s if due else 0.0)

    async def _send_away(self, members: list[Member], end: float) -> None:
        now = self._now()
        with contextlib.suppress(TimeoutError):  # what is not given back in time is given back after the close
            async with asyncio.timeout_at(max(now + _LEAST_S, min(now + _RELEASE_S, end))):
                await self._leases.release(*members)
        until = self._now() + _ANSWERED_S
        while members := self._close_answered(members, is_late=self._now() >= until):  # noqa: ASYNC110
            await asyncio.sleep(_TURN_S)

    def _close_answered(self, members: list[Member], *, is_late: bool) -> list[Member]:
        """Close those that wait for no answer; the others read no more."""
        underway = set() if is_late else self._underway()
        waiting = []
        for member in members:
            if member.is_in and member.id in underway:
                member.connection.pause()
                waiting.append(member)
            elif member.is_in:
                member.is_going = True
                self._close(member)
        return waiting


def plan(members: Iterable[Member], now: float, over_s: float) -> deque[tuple[float, Member]]:
    """When each goes, the first one first: at a random moment of a part of the time that is its own."""
    order = list(members)
    random.shuffle(order)
    step_s = over_s / max(1, len(order))
    return deque(
        (now + step_s * (number + random.random()), member)  # noqa: S311  # spreads load, hides nothing
        for number, member in enumerate(order)
    )


def _taken(due: deque[tuple[float, Member]], now: float) -> Iterable[Member]:
    while due and due[0][0] <= now:
        yield due.popleft()[1]
