"""What a hub has to do when: the ends of its connections and of the mail it holds, and the task that waits for them.

Knows no rule: when a connection is looked at again, its own rules say.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Final

from channels.signaling.deadlines import Deadlines
from channels.signaling.mailbox import Mail
from channels.signaling.members import Member
from channels.signaling.protocol import Address

_TICK_S: Final = 60.0  # at the latest then the task looks again
# What is due so little earlier than what is waited for is not worth waking up for: tokens of one second end at times
# that differ by microseconds on this clock, and each connect would set the timer anew.
_LATE_S: Final = 0.01


class Timetable:
    """The deadlines of one hub; `now` gives the monotonic seconds that they are in."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._deadlines: Deadlines[str] = Deadlines()
        self._held: dict[str, Mail] = {}
        self._held_for: Counter[tuple[str, Address]] = Counter()  # how many of them each recipient has
        self._wake = asyncio.Event()
        self._until = math.inf  # when the task looks again by itself

    def __len__(self) -> int:
        """How many entries all tables hold together."""
        return len(self._deadlines) + len(self._held)

    def arm(self, member: Member) -> None:
        """Look at this connection when its rules say so."""
        when = member.rules.next_deadline()
        if when is not None:
            self._set(member.id, when)

    def forget(self, member: Member) -> None:
        """The connection has ended."""
        self._deadlines.cancel(member.id)

    def keep(self, mail: Mail) -> None:
        """The mail is held until its time is over; a newer one in its place takes over."""
        self._let_go(mail.place)
        self._held[mail.place] = mail
        self._held_for[mail.channel, mail.recipient] += 1
        self._set(mail.place, mail.ends_at(self._now()))

    def keeps_for(self, channel: str, recipient: Address) -> bool:
        """Whether mail for this recipient may still be held: that it was delivered on another node is not told."""
        return (channel, recipient) in self._held_for

    def stop_keeping(self, mail: Mail) -> None:
        """The mail was delivered; a newer one in its place stays."""
        kept = self._held.get(mail.place)
        if kept is not None and kept.id == mail.id:
            self._let_go(mail.place)
            self._deadlines.cancel(mail.place)

    def due(self, now: float) -> tuple[Mail | str, ...]:
        """What is due at `now`, earliest first: a mail, or the id of a connection. It has no deadline any more."""
        return tuple(self._let_go(key) or key for key in self._deadlines.due(now))

    def look_again(self) -> None:
        """The clock was moved: what is due now is done before anything waits for a time that has passed."""
        self._wake.set()

    async def run(self, expire: Callable[[], None]) -> None:
        """Call `expire` whenever something is due; until cancelled."""
        while True:
            self._wake.clear()
            when = self._deadlines.next()
            self._until = math.inf if when is None else when
            delay_s = _TICK_S if when is None else min(_TICK_S, max(0.0, when - self._now()))
            try:
                async with asyncio.timeout(delay_s):
                    await self._wake.wait()
            except TimeoutError:
                expire()

    def _let_go(self, place: str) -> Mail | None:
        mail = self._held.pop(place, None)
        if mail is not None:
            recipient = mail.channel, mail.recipient
            self._held_for[recipient] -= 1
            if not self._held_for[recipient]:
                del self._held_for[recipient]
        return mail

    def _set(self, key: str, when: float) -> None:
        self._deadlines.set(key, when)
        if when < self._until - _LATE_S:
            self._wake.set()
