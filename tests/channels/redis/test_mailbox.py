"""What the mailbox over Redis adds to the contract: lost answers, keys that end, and the model's word for it."""

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.errors import Limit, ServiceError, ServiceUnavailableException
from channels.names import Role
from channels.redis.mailbox import RedisMailbox
from channels.signaling.limits import Limits
from channels.signaling.mailbox import GRACE_S, HeldMail, Mail, MailboxUnavailableError, Seen
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from tests.channels.redis.rig import links, redis_mailboxes, running
from tests.redis_link import PATIENT_S, hurried, patient_settings, quick_settings, until
from tests.redis_server import RedisServer, Reply

V1, V2 = Address(Role.VIEWER, "v1"), Address(Role.VIEWER, "v2")
LIMITS = Limits(held_messages_per_pair=3, held_bytes_per_pair=100, held_messages_per_channel=6)


def mail(
    id: str, action: Action = Action.ICE_CANDIDATE, sender: Address = V1, to: Address = MASTER, **more: int
) -> Mail:
    return Mail(id, "demo", to, sender, action, b"x" * more.get("size", 4), "", more.get("ttl_s", 60), "a", "c-1")


def ids(mails: tuple[Mail, ...]) -> list[str]:
    return [found.id for found in mails]


def _list(reply: Reply) -> list[bytes]:
    assert isinstance(reply, list)
    return [each for each in reply if isinstance(each, bytes)]


@pytest.fixture
async def unsettled(redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[RedisMailbox]:
    """A mailbox that does not run: nobody settles what it takes."""
    async with links(patient_settings(redis_server.url, prefix=redis_prefix), 1) as (link,):
        yield RedisMailbox(link, LIMITS)


async def test_of_mail_that_was_taken_and_settled_nothing_is_left_but_since_when_there_was_some(
    unsettled: RedisMailbox, redis_server: RedisServer, redis_prefix: str
) -> None:
    await unsettled.hold(mail("1"), is_expected=True)
    assert ids(await unsettled.take("demo", MASTER)) == ["1"]
    assert len(unsettled) == 1

    async with running(unsettled.run()):
        await until(lambda: len(unsettled) == 0)

    (box, ends) = sorted(_list(redis_server.command("KEYS", f"{redis_prefix}*")))
    assert sorted(_list(redis_server.command("HKEYS", box))) == [b"born", b"last"]
    assert redis_server.command("ZRANGE", ends, 0, -1) == [b"born"]
    left_ms = redis_server.command("PTTL", box)
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 60_000 + 1000 * GRACE_S + 1000


@pytest.mark.parametrize("is_held_since", [False, True])
async def test_of_what_redis_has_lost_nobody_knows(
    unsettled: RedisMailbox, redis_server: RedisServer, redis_prefix: str, is_held_since: bool
) -> None:
    lost = mail("1")
    assert await unsettled.hold(lost, is_expected=True) is None
    for key in _list(redis_server.command("KEYS", f"{redis_prefix}*")):
        redis_server.command("DEL", key)
    if is_held_since:
        assert await unsettled.hold(mail("2"), is_expected=True) is None

    with pytest.raises(MailboxUnavailableError, match="Redis has lost"):
        await unsettled.withdraw(msgspec.structs.replace(lost, until=time.monotonic() + 30.0))  # held for 30 s of 60


async def test_of_what_was_taken_and_not_settled_nobody_knows_until_it_is(unsettled: RedisMailbox) -> None:
    first = mail("1")
    await unsettled.hold(first, is_expected=True)
    await unsettled.take("demo", MASTER)
    for _ in range(2):
        with pytest.raises(MailboxUnavailableError, match="has not said"):
            await unsettled.withdraw(first)

    async with running(unsettled.run()):
        await until(lambda: len(unsettled) == 0)

    assert not await unsettled.withdraw(first)


async def test_what_is_held_again_before_its_taker_settled_stays(unsettled: RedisMailbox) -> None:
    await unsettled.hold(mail("1"), is_expected=True)
    (taken,) = await unsettled.take("demo", MASTER)
    assert await unsettled.hold(taken, is_expected=True) is None

    async with running(unsettled.run()):
        await until(lambda: len(unsettled) == 0)

    assert ids(await unsettled.take("demo", MASTER)) == ["1"]


async def test_what_is_taken_makes_room_at_once(unsettled: RedisMailbox) -> None:
    for turn in range(3):
        for number in range(3):
            assert await unsettled.hold(mail(f"{turn}-{number}"), is_expected=True) is None
        assert len(await unsettled.take("demo", MASTER)) == 3


async def test_mail_whose_taker_gave_up_goes_back_to_its_place_unless_a_newer_offer_came(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with links(patient_settings(server.url), 2) as made:
            here, there = (RedisMailbox(link, LIMITS) for link in made)
            old, new = mail("1", Action.SDP_OFFER), mail("5", Action.SDP_OFFER)
            for each in (old, mail("2"), mail("3", Action.SDP_OFFER, V2), mail("4")):
                await here.hold(each, is_expected=True)
            await there.take("other", MASTER)  # it has a connection now
            server.stop()
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(there.take("demo", MASTER))
                await asyncio.sleep(0.01)  # the command is on its way
                taking.cancel()
            server.cont()
            await until(lambda: server.command("ZCARD", "heliograph:{demo}:mail:order") == 0)
            await here.hold(new, is_expected=True)
            assert len(there) == 1

            async with running(there.run()):
                await until(lambda: len(there) == 0)

            assert ids(await here.take("demo", MASTER)) == ["2", "3", "4", "5"]


async def test_frozen_redis_is_an_error_in_time_and_holds_nothing_later(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with links(patient_settings(server.url), 1) as (link,):
            box = RedisMailbox(link, LIMITS)
            await box.hold(mail("1"), is_expected=True)
            server.stop()
            begun = time.monotonic()
            with hurried(link):
                refused = await box.hold(mail("2"), is_expected=True)
                calls = (
                    box.take("demo", MASTER),
                    box.withdraw(mail("1")),
                    box.remember([Seen("demo", "v1", 1.0)]),
                    box.drop("demo"),
                )
                errors = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(error) for error in errors] == [MailboxUnavailableError] * 4
            assert time.monotonic() - begun < PATIENT_S
            assert isinstance(refused, ServiceUnavailableException)
            async with running(box.run()):
                with hurried(link):
                    tried = box.stats.unavailable
                    await until(lambda: box.stats.unavailable > tried)  # it tries again until Redis answers
                server.cont()
                await until(lambda: len(box) == 0)
            assert server.command("HGET", "heliograph:{demo}:mail", "mail 2") is None


async def test_mail_whose_sender_gave_up_is_withdrawn(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with links(patient_settings(server.url), 1) as (link,):
            box = RedisMailbox(link, LIMITS)
            await box.hold(mail("1"), is_expected=True)
            server.stop()
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(box.hold(mail("2"), is_expected=True))
                await asyncio.sleep(0.01)  # the command is on its way
                holding.cancel()
            server.cont()
            async with running(box.run()):
                await until(lambda: len(box) == 0)

            assert ids(await box.take("demo", MASTER)) == ["1"]


async def test_redis_with_another_time_than_before_refuses_nothing(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    now = 1000.0
    async with links(patient_settings(redis_server.url, prefix=redis_prefix), 1) as (link,):
        box = RedisMailbox(link, LIMITS, lambda: now)
        await box.hold(mail("1"), is_expected=True)
        now -= 50.0  # as if a server took over whose clock is ahead

        assert await box.hold(mail("2"), is_expected=True) is None
        assert ids(await box.take("demo", MASTER)) == ["1", "2"]


async def test_keys_end_by_themselves(unsettled: RedisMailbox, redis_server: RedisServer, redis_prefix: str) -> None:
    await unsettled.hold(mail("1", ttl_s=60), is_expected=True)
    await unsettled.hold(mail("2", ttl_s=5), is_expected=True)
    await unsettled.remember([Seen("demo", "v1", 10.0)])

    lives = [redis_server.command("TTL", f"{redis_prefix}:{{demo}}:mail{part}") for part in ("", ":order", ":ends")]
    assert all(isinstance(ttl, int) and 60 <= ttl <= 66 for ttl in lives), lives


async def test_mail_of_another_version_is_dropped_and_counted(
    unsettled: RedisMailbox, redis_server: RedisServer, redis_prefix: str
) -> None:
    await unsettled.hold(mail("1"), is_expected=True)
    await unsettled.hold(mail("2"), is_expected=True)
    redis_server.command("HSET", f"{redis_prefix}:{{demo}}:mail", "mail 1", "??")

    assert ids(await unsettled.take("demo", MASTER)) == ["2"]
    assert unsettled.stats.unreadable == 1


Step = tuple[str, Action, Address, Address, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["hold", "hold", "hold", "expected", "take", "withdraw", "remember"]),
        st.sampled_from(Action),
        st.sampled_from([V1, V2, MASTER]),
        st.sampled_from([MASTER, V1, V2]),
        st.integers(1, 60),
    ),
    max_size=25,
)


@given(steps=steps)
@settings(max_examples=8)
def test_it_does_what_the_model_does(redis_server: RedisServer, steps: list[Step]) -> None:
    async def play() -> None:
        prefix = f"test-{uuid.uuid4().hex}"
        async with redis_mailboxes(redis_server.url, prefix, LIMITS) as boxes:
            model = HeldMail(LIMITS)
            for number, step in enumerate(steps):
                assert await of_redis(boxes[number % 2], step, number) == of_model(model, step, number), step

    asyncio.run(play())


async def of_redis(box: RedisMailbox, step: Step, number: int) -> object:
    word, action, sender, to, size = step
    match word:
        case "take":
            taken = await box.take("demo", to)
            await until(lambda: len(box) == 0)  # until it is settled, its sender may withdraw it
            return without_ends(taken)
        case "withdraw":
            with contextlib.suppress(MailboxUnavailableError):  # where no mail was held at all
                return await box.withdraw(mail(str(size % (number + 1)), to=to))
            return False
        case "remember":
            return await box.remember([Seen("demo", to.client_id or "v1", 60.0)])
        case _:
            new = mail(str(number), action, sender, to, size=size)
            return outcome(await box.hold(new, is_expected=word == "expected"))


def of_model(model: HeldMail, step: Step, number: int) -> object:
    word, action, sender, to, size = step
    match word:
        case "take":
            return without_ends(model.take("demo", to, 0.0))
        case "withdraw":
            held = mail(str(size % (number + 1)), to=to)
            return any(model.withdraw(msgspec.structs.replace(held, recipient=each), 0.0) for each in (MASTER, V1, V2))
        case "remember":
            return model.remember("demo", to.client_id or "v1", 60.0, 0.0)
        case _:
            new = mail(str(number), action, sender, to, size=size)
            return outcome(model.hold(new, 0.0, is_expected=word == "expected"))


def without_ends(mails: tuple[Mail, ...]) -> list[Mail]:
    return [msgspec.structs.replace(each, until=math.inf) for each in mails]


def outcome(error: ServiceError | None) -> tuple[type[ServiceError] | None, Limit | None]:
    return (None, None) if error is None else (type(error), error.limit)


async def test_what_redis_refuses_is_told_once_and_what_is_owed_elsewhere_goes_on(
    unsettled: RedisMailbox, redis_server: RedisServer, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = msgspec.structs.replace(mail("2"), channel="other")
    await unsettled.hold(other, is_expected=True)
    redis_server.command("SET", f"{redis_prefix}:{{demo}}:mail:ends", "spoiled")
    with pytest.raises(MailboxUnavailableError):
        await unsettled.take("demo", MASTER)
    assert isinstance(await unsettled.hold(mail("1"), is_expected=True), ServiceUnavailableException)
    assert ids(await unsettled.take("other", MASTER)) == ["2"]

    async with running(unsettled.run()):
        await until(lambda: len(unsettled) == 0)

    assert sorted(_list(redis_server.command("HKEYS", f"{redis_prefix}:{{other}}:mail"))) == [b"born", b"last"]
    assert [record.message for record in caplog.records] == ["redis refuses what the mailbox needs"]


async def test_mail_that_redis_evicted_costs_no_other(
    unsettled: RedisMailbox, redis_server: RedisServer, redis_prefix: str
) -> None:
    await unsettled.hold(mail("1"), is_expected=True)
    redis_server.command("DEL", f"{redis_prefix}:{{demo}}:mail")
    assert await unsettled.take("demo", MASTER) == ()
    await unsettled.hold(mail("2"), is_expected=True)
    assert ids(await unsettled.take("demo", MASTER)) == ["2"]


async def test_what_is_owed_to_a_redis_that_stays_away_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.redis.mailbox._OWED_LIMIT", 2)
    async with links(quick_settings("redis://127.0.0.1:1"), 1) as (link,):
        box = RedisMailbox(link, LIMITS)
        for number in range(3):
            await box.hold(mail(str(number)), is_expected=True)

        assert (len(box), box.stats.overrun) == (2, 1)
