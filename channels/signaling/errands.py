"""What takes a question to presence or the mailbox: finding a recipient, holding mail for it, reporting what expired.

Every question has a limit from outside: the sender of a mail is told something within 2 s of its frame.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import msgspec

from channels.errors import ServiceError
from channels.names import Role
from channels.presence import Holder, Presence, PresenceUnavailableError
from channels.signaling import failures
from channels.signaling.mailbox import Mail, Mailbox, MailboxUnavailableError
from channels.signaling.protocol import Address

HOLD_S: Final = 0.5  # the mailbox has so long to take a mail
_RETRY_S: Final = 0.3
_RETRIES: Final = 3
_LEAST_S: Final = 0.1
T = TypeVar("T")


class Sender(Protocol):
    """Who is told what became of a mail."""

    def keep_time(self, mail: Mail) -> None:
        """The mail is held."""

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        """The mail failed."""

    def count(self, mail: Mail, result: str) -> None:
        """Count the outcome of a mail."""


class Errands:
    """Questions of one node to presence and the mailbox; `turn` waits for a moment."""

    def __init__(
        self,
        presence: Presence,
        mailbox: Mailbox,
        sender: Sender,
        now: Callable[[], float],
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._presence = presence
        self._mailbox = mailbox
        self._sender = sender
        self._now = now
        self._turn = turn

    async def locate(self, channel: str, recipient: Address, until: float) -> Holder | None:
        """Who has the recipient's slot. Raises: PresenceUnavailableError."""
        client_id = "" if recipient.role is Role.MASTER else recipient.client_id
        return await self._ask(self._presence.locate(channel, recipient.role, client_id), until)

    async def find(self, mail: Mail, until: float) -> Holder | None:
        """The same for a mail, asked again until then. Raises: PresenceUnavailableError."""
        while True:
            try:
                return await self.locate(mail.channel, mail.recipient, until)
            except PresenceUnavailableError:
                again_at = self._now() + _RETRY_S
                if again_at >= until:
                    raise
            while self._now() < again_at:
                await self._turn()

    async def hold(self, mail: Mail, until: float, *, is_known: bool) -> Holder | None:
        """Hold the mail, or tell its sender why not; the answer is who came in before it was held, and has to look."""
        if mail.until <= self._now():
            self._sender.answer(mail, failures.expired(mail), "expired")
            return None
        until += HOLD_S
        try:
            refusal = await self._ask(self._mailbox.hold(mail, is_expected=is_known), until)
        except PresenceUnavailableError:
            refusal = failures.away()
        if refusal is not None:
            self._sender.answer(mail, refusal, failures.result_of(refusal))
            return None
        self._sender.count(mail, "held")
        ends_at = mail.ends_at(self._now())
        self._sender.keep_time(msgspec.structs.replace(mail, hops=0, until=ends_at))  # hops of the way to its end
        try:
            return await self.locate(mail.channel, mail.recipient, until)
        except PresenceUnavailableError:
            return None  # whoever came in gets it when it looks the next time

    async def expire(self, mail: Mail) -> None:
        """The mail's time is over: tell its sender, if it is still held or nobody can say, also not a little later."""
        try:
            is_held = await self._mailbox.withdraw(mail)
        except MailboxUnavailableError:
            if mail.hops < _RETRIES:
                again_at = self._now() + _RETRY_S
                self._sender.keep_time(msgspec.structs.replace(mail, hops=mail.hops + 1, until=again_at))
            else:
                self._sender.answer(mail, failures.forgotten(), "expired")
            return
        if is_held:
            self._sender.answer(mail, failures.expired(mail), "expired")

    async def drop(self, channel: str) -> None:
        """Forget what is held for a channel that was deleted; what cannot be dropped now ends by itself."""
        for _ in range(_RETRIES):
            try:
                await self._mailbox.drop(channel)
            except MailboxUnavailableError:
                continue
            return

    async def _ask(self, answer: Awaitable[T], until: float) -> T:
        """The answer, if it comes in time. Raises: PresenceUnavailableError."""
        try:
            async with asyncio.timeout(max(_LEAST_S, until - self._now())):
                return await answer
        except TimeoutError:
            raise PresenceUnavailableError("no answer in time") from None
