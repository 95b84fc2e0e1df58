import asyncio

import msgspec

from channels.names import Role
from channels.presence import Holder
from channels.signaling.limits import Limits
from channels.signaling.mailbox import Mail
from channels.signaling.members import Connect, Member
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address, Rules
from channels.signaling.timetable import Timetable
from tests.channels.signaling.rig import Clock, Recorder, channel


def member(clock: Clock, limits: Limits | None = None) -> Member:
    rules = Rules(Role.VIEWER, limits or Limits.aws(), clock())
    return Member(Connect(channel(), Role.VIEWER, "v1"), Recorder(), Holder(Role.VIEWER, "v1", "a", "a-1", 1), rules)


def mail(name: str, ttl_s: float = 60.0) -> Mail:
    return Mail(name, "c", MASTER, Address(Role.VIEWER, "v1"), Action.SDP_OFFER, b"", "", ttl_s, "a", "a-1")


def test_a_connection_and_a_mail_are_due_when_their_time_comes() -> None:
    clock = Clock(0.0)
    timetable = Timetable(clock)
    timetable.arm(member(clock))
    timetable.keep(mail("m"))

    assert len(timetable) == 3
    assert timetable.due(59.0) == ()
    assert timetable.due(60.0) == (mail("m"),)
    assert timetable.due(600.0) == ("a-1",)
    assert len(timetable) == 0


def test_a_mail_that_is_held_again_is_due_at_its_first_end() -> None:
    clock = Clock(50.0)
    timetable = Timetable(clock)
    again = msgspec.structs.replace(mail("m"), until=60.0)
    timetable.keep(again)

    assert timetable.due(59.9) == ()
    assert timetable.due(60.0) == (again,)


def test_who_has_left_and_what_was_delivered_is_not_due() -> None:
    clock = Clock(0.0)
    timetable = Timetable(clock)
    timetable.arm(member(clock))
    timetable.forget(member(clock))
    timetable.keep(mail("m"))
    timetable.stop_keeping(mail("m"))
    timetable.arm(member(clock, Limits.relaxed()))

    assert timetable.due(1e9) == ()
    assert len(timetable) == 0


def test_the_delivery_of_an_older_mail_leaves_the_time_of_the_newer_one() -> None:
    timetable = Timetable(Clock(0.0))
    timetable.keep(mail("old"))
    timetable.keep(mail("new"))
    timetable.stop_keeping(mail("old"))

    assert timetable.due(60.0) == (mail("new"),)


async def test_it_is_not_woken_for_what_is_due_a_hair_earlier() -> None:
    timetable = Timetable(Clock(0.0))
    running = asyncio.create_task(timetable.run(lambda: None))
    timetable.keep(mail("first"))
    await asyncio.sleep(0)  # it waits for that one
    for name, ttl_s, is_woken in (("hair", 59.995, False), ("later", 61.0, False), ("earlier", 59.9, True)):
        timetable.keep(mail(name, ttl_s))
        assert timetable._wake.is_set() is is_woken, name
    running.cancel()


async def test_it_waits_for_nothing_that_a_moved_clock_has_passed() -> None:
    clock = Clock(0.0)
    timetable = Timetable(clock)
    timetable.keep(mail("m"))
    was_due = asyncio.Event()

    def expire() -> None:
        if timetable.due(clock()):
            was_due.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(timetable.run(expire))
        await asyncio.sleep(0)
        clock.now += 3600.0
        timetable.look_again()
        async with asyncio.timeout(15):
            await was_due.wait()
        task.cancel()


def test_it_knows_for_whom_mail_may_still_be_held() -> None:
    timetable = Timetable(Clock(0.0))
    viewer = Address(Role.VIEWER, "v1")
    timetable.keep(mail("older"))
    timetable.keep(mail("newer"))  # takes the place of the older one
    timetable.keep(msgspec.structs.replace(mail("other"), action=Action.ICE_CANDIDATE, ttl_s=30.0))
    assert timetable.keeps_for("c", MASTER)
    assert not timetable.keeps_for("c", viewer)
    assert not timetable.keeps_for("d", MASTER)

    timetable.stop_keeping(mail("newer"))
    assert timetable.keeps_for("c", MASTER)
    assert len(timetable.due(30.0)) == 1
    assert not timetable.keeps_for("c", MASTER)
    assert len(timetable) == 0
