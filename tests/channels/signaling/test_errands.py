"""Questions to presence and the mailbox, each with a limit."""

import asyncio

import msgspec
import pytest

from channels.embedded.presence import EmbeddedPresence
from channels.errors import ServiceError
from channels.names import Role
from channels.presence import Holder, PresenceUnavailableError
from channels.signaling.errands import Errands
from channels.signaling.limits import Limits
from channels.signaling.mailbox import InProcessMailbox, Mail, MailboxUnavailableError
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from tests.channels.signaling.rig import Clock

VIEWER = Address(Role.VIEWER, "v1")


class Told:
    def __init__(self, now: Clock) -> None:
        self._now = now
        self.kept: list[tuple[str, float]] = []
        self.kept_hops = -1
        self.answers: list[tuple[str, str]] = []

    def keep_time(self, mail: Mail) -> None:
        self.kept.append((mail.id, mail.ends_at(self._now())))
        self.kept_hops = mail.hops

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        self.answers.append((mail.id, result))

    def count(self, mail: Mail, result: str) -> None:
        self.answers.append((mail.id, f"counted as {result}"))


class Presence(EmbeddedPresence):
    """Fails so often, or does not answer at all."""

    failures = 0
    is_frozen = False

    async def locate(self, channel: str, role: Role, client_id: str) -> Holder | None:
        if self.is_frozen:
            await asyncio.Event().wait()
        if self.failures:
            self.failures -= 1
            raise PresenceUnavailableError
        return await super().locate(channel, role, client_id)


class Mailbox(InProcessMailbox):
    is_away = False
    drops = 0

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        if self.is_away:
            await asyncio.Event().wait()
        return await super().hold(mail, is_expected=is_expected)

    async def withdraw(self, mail: Mail) -> bool:
        if self.is_away:
            raise MailboxUnavailableError
        return await super().withdraw(mail)

    async def drop(self, channel: str) -> None:
        self.drops += 1
        if self.is_away:
            raise MailboxUnavailableError
        await super().drop(channel)


class Rig:
    def __init__(self) -> None:
        self.clock, self.presence = Clock(0.0), Presence("a")
        self.told = Told(self.clock)
        self.mailbox = Mailbox(Limits.aws(), self.clock)
        self.errands = Errands(self.presence, self.mailbox, self.told, self.clock, self.turn)

    async def turn(self) -> None:
        self.clock.now += 0.1


def mail(hops: int = 0) -> Mail:
    return Mail("1", "arn", MASTER, VIEWER, Action.ICE_CANDIDATE, b"{}", "c", 60.0, "a", "a-1", hops)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_recipient_is_looked_for_until_presence_answers(rig: Rig) -> None:
    admission = await rig.presence.admit("arn", Role.MASTER, "", "a-1", 10)
    assert admission is not None
    rig.presence.failures = 2

    assert await rig.errands.find(mail(), 1.0) == admission.holder
    assert 0.6 <= rig.clock.now < 1.0

    rig.presence.failures = 9
    with pytest.raises(PresenceUnavailableError):
        await rig.errands.find(mail(), rig.clock.now + 0.5)


async def test_no_question_waits_longer_than_it_may(rig: Rig) -> None:
    rig.presence.is_frozen = True
    with pytest.raises(PresenceUnavailableError, match="no answer in time"):
        await rig.errands.locate("arn", VIEWER, 0.0)


async def test_held_mail_is_kept_in_time_and_whoever_came_meanwhile_is_named(rig: Rig) -> None:
    assert await rig.errands.hold(mail(), 1.0, is_known=True) is None
    admission = await rig.presence.admit("arn", Role.MASTER, "", "a-1", 10)
    assert admission is not None
    assert await rig.errands.hold(mail(), 1.0, is_known=True) == admission.holder
    rig.presence.failures = 1
    assert await rig.errands.hold(mail(), 1.0, is_known=True) is None

    assert rig.told.kept == [("1", 60.0)] * 3
    assert rig.told.answers == [("1", "counted as held")] * 3


async def test_mail_whose_time_is_over_is_not_held_again(rig: Rig) -> None:
    held_before = msgspec.structs.replace(mail(), until=60.0)
    rig.clock.now = 59.9
    await rig.errands.hold(held_before, 60.0, is_known=True)
    assert rig.told.kept == [("1", 60.0)]
    await rig.mailbox.withdraw(held_before)
    rig.clock.now = 60.0
    await rig.errands.hold(held_before, 60.0, is_known=True)

    assert rig.told.answers[1:] == [("1", "expired")]
    assert len(rig.mailbox.held) == 0


async def test_a_mailbox_that_does_not_answer_refuses(rig: Rig) -> None:
    rig.mailbox.is_away = True
    assert await rig.errands.hold(mail(), -1.0, is_known=True) is None
    assert rig.told.answers == [("1", "unreachable")]


async def test_what_expired_is_reported_when_it_was_still_held_a_few_tries_long(rig: Rig) -> None:
    await rig.errands.hold(mail(), 1.0, is_known=True)
    rig.mailbox.is_away = True
    await rig.errands.expire(mail())
    assert rig.told.kept[1:] == [("1", 0.3)]
    rig.mailbox.is_away = False
    await rig.errands.expire(mail())
    await rig.errands.expire(mail())

    assert rig.told.answers[1:] == [("1", "expired")]


async def test_the_way_to_a_recipient_uses_up_no_try_of_what_is_held(rig: Rig) -> None:
    await rig.errands.hold(mail(hops=3), 1.0, is_known=True)
    assert rig.told.kept_hops == 0


async def test_what_expired_while_the_mailbox_is_away_is_answered_all_the_same(rig: Rig) -> None:
    rig.mailbox.is_away = True
    for hops in range(4):
        assert rig.told.answers == []
        await rig.errands.expire(mail(hops=hops))

    assert rig.told.answers == [("1", "expired")]


async def test_a_deleted_channel_is_dropped_a_few_tries_long(rig: Rig) -> None:
    await rig.errands.hold(mail(), 1.0, is_known=True)
    rig.mailbox.is_away = True
    await rig.errands.drop("arn")
    assert rig.mailbox.drops == 3
    rig.mailbox.is_away = False
    await rig.errands.drop("arn")
    assert len(rig.mailbox.held) == 0
