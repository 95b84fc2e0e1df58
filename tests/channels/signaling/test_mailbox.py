import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from channels.errors import ClientLimitExceededException, ResourceNotFoundException
from channels.names import Role
from channels.signaling.limits import Limits
from channels.signaling.mailbox import HeldMail, InProcessMailbox, Mail, Mailbox, MailboxUnavailableError, Seen
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from tests.channels.redis.rig import redis_mailboxes
from tests.channels.signaling.rig import Clock
from tests.redis_server import RedisServer

V1, V2 = Address(Role.VIEWER, "v1"), Address(Role.VIEWER, "v2")
OFFER, ANSWER, CANDIDATE = Action.SDP_OFFER, Action.SDP_ANSWER, Action.ICE_CANDIDATE
LIMITS = Limits(held_messages_per_pair=4, held_bytes_per_pair=100, held_messages_per_channel=6)


def mail(
    id: str, action: Action = CANDIDATE, sender: Address = V1, to: Address = MASTER, size: int = 4, ttl_s: float = 60
) -> Mail:
    return Mail(id, "demo", to, sender, action, b"x" * size, "", ttl_s, "a", "c-1")


def ids(mails: tuple[Mail, ...]) -> list[str]:
    return [found.id for found in mails]


def held(*mails: Mail, limits: Limits = LIMITS) -> HeldMail:
    box = HeldMail(limits)
    for each in mails:
        assert box.hold(each, 0.0, is_expected=True) is None
    return box


def test_mail_comes_out_once_and_in_order() -> None:
    box = held(mail("1", OFFER), mail("2"), mail("3", sender=V2), mail("4"))

    assert ids(box.take("demo", MASTER, 1.0)) == ["1", "2", "3", "4"]
    assert box.take("demo", MASTER, 1.0) == ()
    assert box.is_empty


def test_mail_of_other_recipients_and_channels_stays() -> None:
    box = held(mail("1"), mail("2", sender=MASTER, to=V1))

    assert box.take("other", MASTER, 1.0) == ()
    assert ids(box.take("demo", V1, 1.0)) == ["2"]
    assert len(box) == 1


def test_a_newer_offer_of_the_same_sender_takes_the_place_of_the_older() -> None:
    box = held(mail("1", OFFER), mail("2"), mail("3", OFFER, V2), mail("4", OFFER))

    assert ids(box.take("demo", MASTER, 1.0)) == ["2", "3", "4"]


def test_a_newer_offer_leaves_the_answer_alone() -> None:
    box = held(mail("1", ANSWER), mail("2", OFFER), mail("3", ANSWER))

    assert ids(box.take("demo", MASTER, 1.0)) == ["2", "3"]


def test_mail_is_given_out_until_its_time_is_over() -> None:
    box = held(mail("1", ttl_s=5), mail("2", ttl_s=60))

    assert ids(box.take("demo", MASTER, 5.0)) == ["2"]


def test_mail_that_is_held_again_keeps_its_end() -> None:
    box = held(mail("1", OFFER, ttl_s=60), mail("2", ttl_s=60))
    for each in box.take("demo", MASTER, 20.0):
        assert each.until == 60.0
        assert box.hold(each, 40.0, is_expected=True) is None

    box.expire(64.9)
    assert len(box) == 2
    assert box.take("demo", MASTER, 60.0) == ()
    box.expire(65.0)
    assert box.is_empty


def test_nobody_has_mail_whose_time_is_over() -> None:
    box = held(mail("1", ttl_s=5))

    assert box.waits_for("demo", MASTER, 4.9)
    assert not box.waits_for("demo", MASTER, 5.0)
    assert not box.waits_for("demo", V1, 4.9)


def test_expired_mail_is_still_there_for_its_sender_to_report() -> None:
    first = mail("1", ttl_s=5)
    box = held(first)
    box.expire(5.0)
    assert box.take("demo", MASTER, 5.0) == ()

    assert box.withdraw(first, 5.1)
    assert not box.withdraw(first, 5.2)
    assert box.is_empty


def test_what_nobody_reports_is_forgotten() -> None:
    box = held(mail("1", ttl_s=5))

    box.expire(11.0)

    assert box.is_empty


def test_taken_mail_cannot_be_withdrawn() -> None:
    first = mail("1")
    box = held(first)
    box.take("demo", MASTER, 1.0)

    assert not box.withdraw(first, 60.0)


def test_a_full_pair_is_refused_by_name_and_nothing_is_trimmed() -> None:
    box = held(*(mail(str(n)) for n in range(4)))

    error = box.hold(mail("5"), 1.0, is_expected=True)

    assert isinstance(error, ClientLimitExceededException)
    assert error.limit is not None
    assert (error.limit.name, error.limit.value) == ("held_messages_per_pair", 4)
    assert ids(box.take("demo", MASTER, 1.0)) == ["0", "1", "2", "3"]


def test_too_many_bytes_of_a_pair_are_refused_by_name() -> None:
    box = held(mail("1", size=60))

    error = box.hold(mail("2", size=41), 1.0, is_expected=True)

    assert error is not None
    assert error.limit is not None
    assert error.limit.name == "held_bytes_per_pair"
    assert box.hold(mail("3", size=40), 1.0, is_expected=True) is None


def test_a_full_channel_is_refused_by_name() -> None:
    box = held(*(mail(str(n), sender=Address(Role.VIEWER, f"v{n % 3}")) for n in range(6)))

    error = box.hold(mail("7", sender=V1), 1.0, is_expected=True)

    assert error is not None
    assert error.limit is not None
    assert error.limit.name == "held_messages_per_channel"


def test_a_newer_offer_fits_where_the_older_one_did() -> None:
    box = held(mail("1", OFFER, size=90), *(mail(str(n), size=1) for n in range(2, 5)))

    assert box.hold(mail("9", OFFER, size=97), 1.0, is_expected=True) is None
    assert ids(box.take("demo", MASTER, 1.0)) == ["2", "3", "4", "9"]


def test_a_newer_offer_that_does_not_fit_leaves_the_older_one() -> None:
    box = held(mail("1", OFFER))

    assert box.hold(mail("2", OFFER, size=101), 1.0, is_expected=True) is not None
    assert ids(box.take("demo", MASTER, 1.0)) == ["1"]


def test_mail_for_a_viewer_that_was_never_here_is_not_found() -> None:
    error = HeldMail(LIMITS).hold(mail("1", sender=MASTER, to=V1), 0.0, is_expected=False)

    assert isinstance(error, ResourceNotFoundException)


def test_mail_for_a_viewer_that_left_a_while_ago_is_held_then_not_found() -> None:
    box = HeldMail(LIMITS)
    box.remember("demo", "v1", 60.0, 0.0)

    assert box.hold(mail("1", sender=MASTER, to=V1), 59.9, is_expected=False) is None
    assert box.hold(mail("2", sender=MASTER, to=V1), 60.0, is_expected=False) is not None
    box.expire(200.0)
    assert box.is_empty


def test_a_deleted_channel_holds_nothing() -> None:
    box = held(mail("1"))
    box.remember("demo", "v1", 60.0, 0.0)

    box.drop("demo")

    assert box.is_empty
    box.expire(1000.0)


@pytest.fixture(params=["in process", "redis"])
async def ends(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[tuple[Mailbox, Mailbox]]:
    """Two nodes' ends of one mailbox."""
    if request.param == "in process":
        box = InProcessMailbox(LIMITS, time.monotonic)
        yield box, box
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with redis_mailboxes(server.url, redis_prefix, LIMITS) as (here, there):
        yield here, there


async def hold(box: Mailbox, *mails: Mail) -> None:
    for each in mails:
        assert await box.hold(each, is_expected=True) is None


async def withdrawn(box: Mailbox, held: Mail) -> bool:
    """Whether it was there, once who took it has said that it was delivered."""
    async with asyncio.timeout(15):
        while True:
            with contextlib.suppress(MailboxUnavailableError):
                return await box.withdraw(held)


async def test_what_one_node_holds_another_one_takes_once_and_in_order(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    first = mail("1", OFFER)
    await hold(here, first, mail("2"), mail("x", sender=MASTER, to=V1))
    await hold(there, mail("3", sender=V2), mail("4"))

    taken = await there.take("demo", MASTER)

    assert ids(taken) == ["1", "2", "3", "4"]
    assert msgspec.structs.replace(taken[0], until=math.inf) == first
    assert await here.take("demo", MASTER) == ()
    assert await here.take("other", V1) == ()
    assert not await withdrawn(here, first)
    assert ids(await here.take("demo", V1)) == ["x"]


async def test_who_has_mail_is_seen_on_every_node_and_the_mail_stays(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    await hold(here, mail("1"), mail("x", sender=MASTER, to=V1))
    everybody = [("demo", MASTER), ("demo", V1), ("demo", V2), ("other", MASTER)]
    many = [("demo", Address(Role.VIEWER, f"w{number}")) for number in range(120)]

    assert await there.peek([*many, *everybody]) == {("demo", MASTER), ("demo", V1)}
    assert ids(await here.take("demo", MASTER)) == ["1"]
    assert await there.peek(everybody) == {("demo", V1)}
    assert await there.peek([]) == set()


async def test_of_two_nodes_that_race_for_mail_one_gets_it(ends: tuple[Mailbox, Mailbox]) -> None:
    for number in range(20):
        await hold(ends[number % 2], mail(str(number)))
        async with asyncio.TaskGroup() as group:
            takes = [group.create_task(end.take("demo", MASTER)) for end in ends]
        assert sorted(len(take.result()) for take in takes) == [0, 1]


async def test_the_newest_offer_takes_the_place_of_the_older_one_and_its_room(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    older = mail("1", OFFER, size=90)
    await hold(here, older, *(mail(str(n), size=1) for n in range(2, 5)), mail("5", OFFER, V2))

    await hold(there, mail("9", OFFER, size=97))

    assert not await here.withdraw(older)
    assert ids(await here.take("demo", MASTER)) == ["2", "3", "4", "5", "9"]


async def test_mail_that_does_not_fit_is_refused_and_nothing_is_trimmed(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    await hold(here, mail("1", OFFER, size=60), mail("2", sender=V2))
    refused = [await there.hold(mail("3", size=41), is_expected=True)]
    await hold(there, *(mail(str(n), size=1) for n in range(4, 7)))
    refused += [await here.hold(mail("7", size=1), is_expected=True)]
    await hold(here, mail("8", sender=V2))
    refused += [await here.hold(mail("9", sender=V2), is_expected=True)]

    names = [error.limit.name for error in refused if error is not None and error.limit is not None]
    assert names == ["held_bytes_per_pair", "held_messages_per_pair", "held_messages_per_channel"]
    assert ids(await here.take("demo", MASTER)) == ["1", "2", "4", "5", "6", "8"]
    await hold(here, *(mail(str(n), sender=V2, size=25) for n in range(20, 24)))


async def test_mail_over_its_time_is_for_its_sender_alone(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    short = mail("1", ttl_s=0.02)
    await hold(here, short, mail("2"))
    await asyncio.sleep(0.03)  # the time of Redis cannot be moved

    assert ids(await there.take("demo", MASTER)) == ["2"]
    assert await there.withdraw(short)
    assert not await here.withdraw(short)


async def test_mail_that_is_held_again_keeps_its_end_on_every_node(ends: tuple[Mailbox, Mailbox]) -> None:
    begun = time.monotonic()
    aged = msgspec.structs.replace(mail("1", ttl_s=9000.0), until=begun + 5000.0)
    fresh = mail("2", ttl_s=3000.0)
    passed_on = (aged, fresh)
    for end in (*ends, *ends):
        await hold(end, *passed_on)
        passed_on = await end.take("demo", MASTER)

        assert ids(passed_on) == ["1", "2"]
        for each, until in zip(passed_on, (5000.0, 3000.0), strict=True):
            assert begun + until - 100.0 < each.until < begun + until + 100.0
            assert msgspec.structs.replace(each, until=math.inf) in (mail("1", ttl_s=9000.0), fresh)


async def test_an_offer_that_is_held_again_leaves_the_newer_one(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    await hold(here, mail("1", OFFER), mail("2"))
    passed_on = await there.take("demo", MASTER)
    await hold(here, mail("3", OFFER))
    await hold(there, *passed_on)

    assert ids(await here.take("demo", MASTER)) == ["3", "2"]


async def test_mail_for_a_viewer_is_held_while_it_is_remembered(ends: tuple[Mailbox, Mailbox]) -> None:
    here, there = ends
    away = [mail(str(n), ANSWER, MASTER, V1) for n in range(3)]
    refused = await here.hold(away[0], is_expected=False)
    assert isinstance(refused, ResourceNotFoundException)
    await here.remember([Seen("demo", "v1", 60.0)])
    await there.remember([Seen("demo", "v1", 0.001)])  # shortens nothing
    await there.remember([Seen("demo", "v2", 0.02)])
    await asyncio.sleep(0.03)

    assert await there.hold(away[1], is_expected=False) is None
    assert isinstance(await there.hold(mail("4", to=V2), is_expected=False), ResourceNotFoundException)
    await here.drop("demo")
    assert await there.take("demo", V1) == ()
    assert isinstance(await there.hold(away[2], is_expected=False), ResourceNotFoundException)


async def test_the_in_process_mailbox_keeps_the_rules_on_its_own_clock() -> None:
    clock = Clock(0.0)
    box = InProcessMailbox(LIMITS, clock)
    first, second = mail("1", ttl_s=5), mail("2")
    assert await box.hold(first, is_expected=True) is None
    assert await box.hold(second, is_expected=True) is None
    clock.now = 5.0
    assert await box.withdraw(first)
    assert ids(await box.take("demo", MASTER)) == ["2"]
    await box.remember([Seen("demo", "v1", 60.0)])
    assert await box.hold(mail("3", sender=MASTER, to=V1), is_expected=False) is None
    await box.drop("demo")
    assert box.held.is_empty
