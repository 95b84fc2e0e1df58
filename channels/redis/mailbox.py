"""The mailbox of many nodes in Redis. The rules are those of `HeldMail`, kept by the scripts in `held`."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from channels.errors import ServiceError, ServiceUnavailableException
from channels.names import Role
from channels.redis import held
from channels.redis.claims import slot_of
from channels.redis.clock import RedisClock
from channels.redis.commands import Call, Script
from channels.redis.failures import Refusals, answered, is_refused
from channels.redis.link import Link
from channels.signaling.limits import Limits
from channels.signaling.mailbox import GRACE_S, Mail, MailboxUnavailableError, Seen, absent, full
from channels.signaling.protocol import Address

_PEEKED_AT_ONCE: Final = 50  # recipients per script
_RETRY_S: Final = 0.2
_STOP_LIMIT_S: Final = 1.0
_OWED_LIMIT: Final = 10_000
_IS_AWAY, _IS_LOST = 2, 3  # answers of `held.WITHDRAW`
_STEP_S: Final = 1.0  # by which the clock of Redis may be set meanwhile, without mail that was taken being called lost
_decoder: Final = msgspec.msgpack.Decoder(Mail)
_encoder: Final = msgspec.msgpack.Encoder()
log = logging.getLogger(__name__)
Owed = tuple[Script, str, tuple[str | int, ...]]  # script, channel, arguments


class MailboxStats(msgspec.Struct):
    """Plain counters: messages held for absent peers and taken by them, calls that went unanswered.

    `unreadable` are messages that a node of another version held: they are dropped. `overrun` is what was to be settled
    or undone and did not fit, because Redis was away for long: the end of its mail does it.
    """

    held: int = 0
    taken: int = 0
    unavailable: int = 0
    unreadable: int = 0
    overrun: int = 0


class RedisMailbox:
    """Mail for absent peers of all nodes; what was taken on one is nowhere else.

    `run` settles what was taken, and undoes what was not answered. What it cannot, time does: mail ends by itself.
    """

    def __init__(self, link: Link, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self.stats = MailboxStats()
        self._link = link
        self._limits = limits
        self._clock = RedisClock(now)
        self._hold = link.script(held.HOLD)
        self._take = link.script(held.TAKE)
        self._peek = link.script(held.PEEK)
        self._settle = link.script(held.SETTLE)
        self._withdraw = link.script(held.WITHDRAW)
        self._remember = link.script(held.REMEMBER)
        self._owed: deque[Owed] = deque()
        self._is_owed = asyncio.Event()
        self._refusals = Refusals("what the mailbox needs")

    def __len__(self) -> int:
        """How many calls are still to be settled or undone."""
        return len(self._owed)

    async def run(self) -> None:
        """Settle what was taken and undo what was not answered, until cancelled."""
        try:
            while True:
                await self._is_owed.wait()
                self._is_owed.clear()
                if not await self._pay():
                    await asyncio.sleep(_RETRY_S)
                    self._is_owed.set()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_LIMIT_S):
                    await self._pay()

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        """Keep the message for what is left of its time, or say why not."""
        try:
            outcome, _ = await self._timely(self._hold, mail.channel, self._terms(mail, is_expected=is_expected))
        except MailboxUnavailableError:
            self._owe(self._withdraw, mail.channel, mail.id, 0, 0)
            return ServiceUnavailableException("the recipient is away and nothing can be held now: send it again")
        except asyncio.CancelledError:
            self._owe(self._withdraw, mail.channel, mail.id, 0, 0)
            raise
        match outcome:
            case b"held":
                self.stats.held += 1
                return None
            case b"absent":
                return absent(mail.recipient)
            case _:
                return full(outcome.decode(), getattr(self._limits, outcome.decode()))

    async def take(self, channel: str, recipient: Address) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first. Raises: MailboxUnavailableError."""
        token = secrets.token_hex(8)
        slot = slot_of(recipient.role, recipient.client_id)
        begun = self._clock.now()
        try:
            _, time_ms, *found = await self._timely(self._take, channel, (slot, token))
        except (MailboxUnavailableError, asyncio.CancelledError):
            self._owe(self._settle, channel, token, 0)
            raise
        if not found:
            return ()
        mails, ends_ms = found[::2], found[1::2]
        self.stats.taken += len(mails)
        self._owe(self._settle, channel, token, 1)
        # Counted from before the question, so that no end is later here than it is at Redis.
        ends = (begun + (int(until_ms) - time_ms) / 1000 for until_ms in ends_ms)
        return tuple(mail for mail in map(self._read, mails, ends) if mail is not None)

    async def peek(self, recipients: Sequence[tuple[str, Address]]) -> set[tuple[str, Address]]:
        """For whom of these something is held, in one round trip. Raises: MailboxUnavailableError."""
        size = 1 if self._link.is_cluster else _PEEKED_AT_ONCE  # a script of a cluster takes keys of one slot
        parts = [recipients[first : first + size] for first in range(0, len(recipients), size)]
        calls: list[Call] = [
            ([self._keys(channel)[1] for channel, _ in part], [slot_of(to.role, to.client_id) for _, to in part])
            for part in parts
        ]
        with answered(self._failure):
            replies: list[list[int]] = await self._peek.many(calls)
        return {part[number - 1] for part, numbers in zip(parts, replies, strict=True) for number in numbers}

    async def withdraw(self, mail: Mail) -> bool:
        """Remove one message; False when it is not there any more. Raises: MailboxUnavailableError.

        That also while somebody has taken it and not yet said whether it was delivered, and when Redis has lost it.
        """
        age_s = self._clock.now() - (mail.until - mail.ttl_s) - _STEP_S
        outcome = await self._call(self._withdraw, mail.channel, (mail.id, 1, _ms(max(0.0, age_s))))
        if outcome == _IS_AWAY:
            raise MailboxUnavailableError("who took the message has not said what became of it")
        if outcome == _IS_LOST:
            raise MailboxUnavailableError("Redis has lost what was held")
        return bool(outcome)

    async def remember(self, seen: Sequence[Seen]) -> None:
        """Keep mail for these viewers, in one round trip. Raises: MailboxUnavailableError."""
        calls: list[Call] = [
            (self._keys(each.channel), (slot_of(Role.VIEWER, each.client_id), _ms(each.ttl_s))) for each in seen
        ]
        with answered(self._failure):
            await self._remember.many(calls)

    async def drop(self, channel: str) -> None:
        """Forget the channel. Raises: MailboxUnavailableError."""
        with answered(self._failure):
            await self._link.command("UNLINK", *self._keys(channel))

    def _terms(self, mail: Mail, *, is_expected: bool) -> tuple[str | bytes | int, ...]:
        recipient, sender, limits, now = mail.recipient, mail.sender, self._limits, self._clock.now()
        return (
            *(mail.id, _encoder.encode(mail), _ms(mail.ends_at(now) - now), len(mail.frame)),
            mail.action.value if mail.is_replaceable else "-",
            *(slot_of(sender.role, sender.client_id), slot_of(recipient.role, recipient.client_id)),
            *(int(is_expected or recipient.role is Role.MASTER), int(mail.was_held), _ms(GRACE_S)),
            *(limits.held_messages_per_pair, limits.held_bytes_per_pair, limits.held_messages_per_channel),
        )

    async def _timely(self, script: Script, channel: str, words: tuple[str | bytes | int, ...]) -> list[Any]:
        """Run a script unless it is too late when its turn comes: then somebody was told that it was not done."""
        reply = await self._clock.in_time(
            self._link.limit_s, lambda until_ms: self._call(script, channel, (until_ms, *words))
        )
        if reply is None:
            raise MailboxUnavailableError("Redis would have done what was asked too late")
        return reply

    async def _call(self, script: Script, channel: str, words: tuple[str | bytes | int, ...]) -> Any:
        with answered(self._failure):
            return await script(self._keys(channel), words)

    def _failure(self, error: Exception) -> MailboxUnavailableError:
        self.stats.unavailable += 1
        self._refusals.note(error)
        verb = "do what the mailbox needs" if is_refused(error) else "answer"
        return MailboxUnavailableError(f"Redis does not {verb}")

    def _owe(self, script: Script, channel: str, *words: str | int) -> None:
        if len(self._owed) >= _OWED_LIMIT:
            self._owed.popleft()  # the oldest, whose mail ends first
            self.stats.overrun += 1
        self._owed.append((script, channel, words))
        self._is_owed.set()

    async def _pay(self) -> bool:
        while self._owed:
            call = self._owed.popleft()
            try:
                await self._call(*call)
            except BaseException as error:
                if is_refused(error.__cause__):
                    continue  # it would be refused for ever
                self._owed.appendleft(call)
                if isinstance(error, MailboxUnavailableError):
                    return False
                raise
        return True

    def _read(self, held: bytes, until: float) -> Mail | None:
        try:
            return msgspec.structs.replace(_decoder.decode(held), until=until)
        except msgspec.DecodeError:
            self.stats.unreadable += 1
            log.warning("mail of another version was dropped")
            return None

    def _keys(self, channel: str) -> tuple[str, str, str]:
        key = f"{self._link.prefix}:{{{channel}}}:mail"
        return key, f"{key}:order", f"{key}:ends"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
